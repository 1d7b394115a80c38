#include "agent-failover/policy/status.hpp"

#include <fmt/core.h>

namespace understudy::policy {
namespace {

std::string by_whom(const primary_state& state) {
  std::string text = state.by.empty() ? "by an operator" : "by " + state.by;
  if (!state.why.empty()) text += ": " + state.why;
  return text;
}

std::string takeover_in(const primary_state& state) {
  const block obstructed = obstacle(state);
  const std::uint32_t threshold = takeover_threshold(state);
  const std::uint32_t left = state.missed < threshold ? threshold - state.missed : 0;
  if (obstructed != block::none) {
    return fmt::format("no automatic takeover: {}", to_string(obstructed));
  }
  return fmt::format("takeover after {} more missed pings{}", left,
                     state.after_reboot ? " (the higher count, this host rebooted)" : "");
}

const char* what_of(const primary_state& state) {
  switch (state.at) {
    case phase::monitoring:
      return state.replication.at == copy_phase::copying ? "The primary serves; a bulk copy runs."
             : state.replication.has_copy                ? "The primary serves and is protected."
                                                         : "The primary serves and is not protected.";
    case phase::suspect:
    case phase::warned:
      return "The primary does not answer pings.";
    case phase::blind:
      return "This host is in doubt about itself; missed pings are not counted.";
    case phase::suspended:
      return "Not monitored; file sync is stopped, database sync goes on.";
    case phase::stopped:
      return "Not monitored; nothing is replicated.";
    case phase::claiming:
      return "The place and the right to run are being obtained.";
    case phase::blocked:
      return "The primary failed and is not taken over.";
    case phase::taking_over:
      return state.owner == right_owner::primary ? "The takeover is being undone."
                                                 : "This host is taking over.";
    case phase::standing_in:
      return "The stand-in serves on this host.";
    case phase::conflict:
      return "The stand-in serves, and the primary was found serving as well.";
    case phase::standing_down:
      return "The stand-in is being stopped.";
    case phase::stood_down:
      return "No application runs: the copy is the newest data and the primary is held down.";
    case phase::failing_back:
      return "Data and the right to run go back to the primary.";
  }
  return "";
}

std::string why_of(const primary_state& state) {
  switch (state.at) {
    case phase::monitoring:
      if (!state.reason.empty()) return state.reason;
      return state.replication.has_copy ? "" : "there is no verified copy yet";
    case phase::suspect:
    case phase::warned:
      return fmt::format("{} consecutive pings missed", state.missed);
    case phase::suspended:
    case phase::stopped:
      return by_whom(state);
    case phase::blocked: {
      std::string text = to_string(state.blocked);
      if (!state.reason.empty()) text += ": " + state.reason;
      return text;
    }
    case phase::stood_down:
      return state.reason.empty() ? "the stand-in was stopped" : state.reason;
    case phase::failing_back:
      if (!state.reason.empty()) return state.reason;
      return state.why_acting == cause::automatic ? "auto_stop: the primary is back" : "asked by an operator";
    case phase::blind:
    case phase::claiming:
    case phase::taking_over:
    case phase::standing_in:
    case phase::conflict:
    case phase::standing_down:
      break;
  }
  if (!state.reason.empty()) return state.reason;
  switch (state.why_acting) {
    case cause::automatic:
      return "the primary failed";
    case cause::planned:
      return "a switchover";
    case cause::forced:
      return "asked by an operator";
    case cause::none:
      break;
  }
  return state.at == phase::blind ? "its own network or clock is in doubt" : "the primary was taken over";
}

std::string next_of(const primary_state& state) {
  const std::string step_name = to_string(state.doing);
  switch (state.at) {
    case phase::monitoring:
      if (state.start_owed) return "the primary's application is started at its next reply";
      return takeover_in(state);
    case phase::suspect:
    case phase::warned:
      return state.host_blind ? "counting stops: this host sees nothing" : takeover_in(state);
    case phase::blind:
      return "counting goes on when this host sees its network again";
    case phase::suspended:
      return state.until_ms != 0 ? "resumes by itself at its end, or with resume" : "resume";
    case phase::stopped:
      return state.until_ms != 0 ? "starts by itself at its end, or with start" : "start";
    case phase::claiming:
      return state.doing == step_id::none ? "asks for the one place to stand in"
             : state.configured.mode == protection::compat
                 ? "takes over"
                 : "takes over when the claim is recorded and no lease can be alive";
    case phase::blocked:
      if (state.blocked == block::slot_busy) {
        return fmt::format("takes over when the place is free (position {})", state.queue_position);
      }
      if (state.blocked == block::no_copy) return "nothing can be taken over without a verified copy";
      return "tried again after a while; failover --force takes over by hand";
    case phase::taking_over:
      return state.owner == right_owner::primary ? step_name + ", then the primary has the right again"
                                                 : step_name + ", then the steps after it";
    case phase::standing_in:
      if (state.configured.auto_stop && !state.configured.assume_ip) {
        return "hands back by itself when the primary is back";
      }
      return "failback when the primary is repaired, or stop-failover";
    case phase::conflict:
      return "the primary is fenced again";
    case phase::standing_down:
      return step_name + ", then StoodDown";
    case phase::stood_down:
      return state.resume_asked
                 ? "stands in again when the place is free"
                 : "replicate to-live when the primary is repaired, or failover to stand in again";
    case phase::failing_back:
      return state.owner == right_owner::primary ? step_name + ", then OK"
                                                 : step_name + ", then the steps after it";
  }
  return "";
}

}  // namespace

status status_of(const primary_state& state, bool application_doubt) {
  switch (state.at) {
    case phase::monitoring:
      if (state.replication.at == copy_phase::copying) return status::replicating;
      return application_doubt ? status::suspect : status::ok;
    case phase::suspect:
    case phase::warned:
    case phase::blind:
      return status::suspect;
    case phase::suspended:
      return status::suspended;
    case phase::stopped:
      return status::stopped;
    case phase::failing_back:
      return status::replicating;
    case phase::claiming:
    case phase::blocked:
    case phase::taking_over:
    case phase::standing_in:
    case phase::conflict:
    case phase::standing_down:
    case phase::stood_down:
      break;
  }
  return status::failure;
}

explanation explain(const primary_state& state, const std::string& since) {
  return {what_of(state), why_of(state), since, next_of(state)};
}

std::string explanation::text() const {
  std::string lines = what;
  if (!why.empty()) lines += "\nWhy:   " + why;
  if (!since.empty()) lines += "\nSince: " + since;
  lines += "\nNext:  " + next;
  return lines;
}

const char* to_string(status value) {
  switch (value) {
    case status::ok:
      return "OK";
    case status::suspended:
      return "SUSPENDED";
    case status::stopped:
      return "STOPPED";
    case status::suspect:
      return "SUSPECT";
    case status::failure:
      return "FAILURE";
    case status::replicating:
      return "REPLICATING";
  }
  return "?";
}

}  // namespace understudy::policy
