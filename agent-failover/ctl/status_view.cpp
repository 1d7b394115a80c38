#include "agent-failover/ctl/status_view.hpp"

#include <fmt/core.h>
#include <google/protobuf/util/time_util.h>

#include <algorithm>
#include <vector>

namespace understudy::ctl {

namespace {

using copies = google::protobuf::RepeatedPtrField<v1::CopyStatus>;

// The least advanced first.
int rank(v1::CopyPhase phase) {
  switch (phase) {
    case v1::COPY_PHASE_UNPROTECTED:
      return 0;
    case v1::COPY_PHASE_CUT:
      return 1;
    case v1::COPY_PHASE_STOPPED:
      return 2;
    case v1::COPY_PHASE_COPYING:
      return 3;
    case v1::COPY_PHASE_BEHIND:
      return 4;
    default:
      return 5;
  }
}

std::vector<const v1::CopyStatus*> parts_of(const v1::ServerState& state) {
  std::vector<const v1::CopyStatus*> parts;
  for (const auto& database : state.databases()) parts.push_back(&database);
  for (const auto& tree : state.files()) parts.push_back(&tree);
  return parts;
}

std::string status_word(v1::ServerStatus status) {
  return enum_text(v1::ServerStatus_descriptor(), status);
}

std::string agent_cell(const v1::ServerState& state) {
  if (!state.agent_connected()) return "not connected";
  return state.agent_version().empty() ? "connected" : state.agent_version();
}

std::string host_line(const v1::HostState& host, const std::string& address, const view& how) {
  auto line = fmt::format("failover host {}", address);
  if (!host.version().empty()) line += ", version " + host.version();
  if (host.has_started_at()) {
    const auto up = how.now - to_time(host.started_at());
    line += ", up " + duration_text(std::chrono::duration_cast<std::chrono::seconds>(up));
  }
  line +=
      host.standing_in_for().empty() ? "; stands in for nobody" : "; stands in for " + host.standing_in_for();
  for (int i = 0; i < host.queue_size(); ++i) line += (i == 0 ? "; waiting: " : ", ") + host.queue(i);
  return printable(line) + "\n";
}

std::string warning(const std::string& text, const view& how) {
  return tinted("warning:", tint::doubt, how.colored) + " " + printable(text) + "\n";
}

void add_pair(std::string* text, std::string_view name, const std::string& value) {
  if (!value.empty()) *text += fmt::format("{:<14}{}\n", name, printable(value));
}

bool connected(const v1::CopyStatus& part) {
  return part.phase() == v1::COPY_PHASE_STREAMING || part.phase() == v1::COPY_PHASE_BEHIND ||
         part.phase() == v1::COPY_PHASE_COPYING;
}

// Without a connection nobody knows what the copy lacks, only how old it may be.
std::string behind_text(const v1::CopyStatus& part) {
  if (!part.has_behind()) return part.phase() == v1::COPY_PHASE_STREAMING ? "0 s" : "-";
  auto text = duration_text(to_milliseconds(part.behind()));
  if (!connected(part)) return "unknown for " + text;
  if (part.behind_transactions() > 0) text += fmt::format(", {} tx", part.behind_transactions());
  if (part.behind_bytes() > 0) text += ", " + bytes_text(part.behind_bytes());
  return text;
}

std::string copies_view(std::string_view title, const copies& parts, const view& how) {
  if (parts.empty()) return "";
  text_table table{
      {std::string{title}, "PHASE", "BEHIND", "LAST CHANGE", "SIZE", "DURABLE", "HEALS", "REASON"}};
  for (const auto& part : parts) {
    auto phase = enum_text(v1::CopyPhase_descriptor(), part.phase());
    if (part.phase() == v1::COPY_PHASE_COPYING) {
      const auto percent = percent_text(part.bytes_done(), part.bytes_total(), false);
      if (!percent.empty()) phase += " " + percent;
    }
    auto reason = part.reason();
    if (reason.empty() && !part.last_heal_reason().empty()) reason = "last heal: " + part.last_heal_reason();
    table.add_row({{part.name()},
                   {phase},
                   {behind_text(part)},
                   {part.has_durable_captured_at() ? ago_text(part.durable_captured_at(), how.now) : "-"},
                   {part.size_bytes() > 0 ? bytes_text(part.size_bytes()) : "-"},
                   {fmt::format("{}", part.durable())},
                   {fmt::format("{}", part.heals())},
                   {reason}});
  }
  auto text = "\n" + table.text(how.width, how.colored);
  for (const auto& part : parts) {
    if (part.tables().empty()) continue;
    auto line = part.name() + ": in real time";
    for (int i = 0; i < part.tables_size(); ++i) line += (i == 0 ? " " : ", ") + part.tables(i);
    line += fmt::format("; the rest daily; {} received, {} not sent ({} transactions)",
                        bytes_text(part.tables_received_bytes()), bytes_text(part.tables_saved_bytes()),
                        part.tables_saved_transactions());
    text += printable(line) + "\n";
  }
  return text;
}

std::string yes_no(bool value) {
  return value ? "yes" : "no";
}

}  // namespace

tint tint_of(v1::ServerStatus status) {
  switch (status) {
    case v1::SERVER_STATUS_OK:
      return tint::good;
    case v1::SERVER_STATUS_REPLICATING:
      return tint::busy;
    case v1::SERVER_STATUS_FAILURE:
      return tint::bad;
    default:
      return tint::doubt;
  }
}

std::string copy_cell(const v1::ServerState& state) {
  const auto parts = parts_of(state);
  if (parts.empty()) return state.is_protected() ? "protected" : "UNPROTECTED";
  const auto* least = *std::min_element(parts.begin(), parts.end(), [](const auto* a, const auto* b) {
    return rank(a->phase()) < rank(b->phase());
  });
  auto cell = enum_text(v1::CopyPhase_descriptor(), least->phase());
  if (least->phase() == v1::COPY_PHASE_COPYING) {
    std::uint64_t done = 0;
    std::uint64_t total = 0;
    for (const auto* part : parts) {
      if (part->phase() != v1::COPY_PHASE_COPYING) continue;
      done += part->bytes_done();
      total += part->bytes_total();
    }
    const auto percent = percent_text(done, total, false);
    if (!percent.empty()) cell += " " + percent;
  }
  // Streaming parts do not make a server safe whose first copy was never verified.
  if (!state.is_protected() && least->phase() != v1::COPY_PHASE_UNPROTECTED) cell += " (UNPROTECTED)";
  return cell;
}

std::string behind_cell(const v1::ServerState& state) {
  const auto parts = parts_of(state);
  if (parts.empty()) return "-";
  std::chrono::milliseconds longest{0};
  bool known = true;
  bool any = false;
  for (const auto* part : parts) {
    if (part->phase() == v1::COPY_PHASE_UNPROTECTED) return "-";
    any = any || part->phase() == v1::COPY_PHASE_STREAMING || part->has_behind();
    known = known && (connected(*part) || !part->has_behind());
    if (part->has_behind()) longest = std::max(longest, to_milliseconds(part->behind()));
  }
  if (!any) return "-";
  return (known ? "" : "unknown for ") + duration_text(longest);
}

std::string status_table(const v1::GetStatusResponse& status, const std::string& host, const view& how) {
  text_table table{{"NAME", "STATUS", "SINCE", "REASON", "BEHIND", "COPY", "AGENT", "NEXT"}};
  std::string warnings;
  for (const auto& state : status.servers()) {
    table.add_row({{state.name()},
                   {status_word(state.status()), tint_of(state.status())},
                   {ago_text(state.since(), how.now)},
                   {state.reason()},
                   {behind_cell(state)},
                   {copy_cell(state), state.is_protected() ? tint::plain : tint::doubt},
                   {agent_cell(state), state.agent_connected() ? tint::plain : tint::doubt},
                   {state.next()}});
    for (const auto& text : state.warnings()) warnings += warning(state.name() + ": " + text, how);
  }
  const auto& it = status.host();
  if (it.blind())
    warnings +=
        warning("the failover host doubts its own network or clock and decides nothing: " + it.reason(), how);
  auto text = table.empty() ? "no servers; add one: understudyctl server add NAME --address A\n"
                            : table.text(how.width, how.colored);
  return text + "\n" + host_line(it, host, how) + warnings;
}

std::string server_view(const v1::ServerState& state, const view& how) {
  std::string text;
  add_pair(&text, "name", state.name());
  text += fmt::format("{:<14}{}\n", "status",
                      tinted(status_word(state.status()), tint_of(state.status()), how.colored));
  add_pair(&text, "since",
           fmt::format("{} ({})", time_text(state.since()), ago_text(state.since(), how.now)));
  add_pair(&text, "reason", state.reason());
  add_pair(&text, "next", state.next());
  add_pair(&text, "state", state.state());
  if (state.has_until())
    add_pair(&text, "until",
             fmt::format("{} ({})", time_text(state.until()), ago_text(state.until(), how.now)));
  auto pings = fmt::format("{} missed", state.missed_pings());
  if (state.failover_count() != 0) pings += fmt::format(" of {}", state.failover_count());
  if (state.has_round_trip()) {
    const auto& trip = state.round_trip();
    pings += fmt::format(", last round trip {:.2f} ms", trip.seconds() * 1e3 + trip.nanos() / 1e6);
  }
  add_pair(&text, "pings", pings);
  add_pair(&text, "address", state.address());
  add_pair(&text, "agent", agent_cell(state));
  add_pair(&text, "mode", enum_word(v1::ReplicationMode_descriptor(), state.mode()));
  add_pair(&text, "protection", enum_word(v1::ProtectionMode_descriptor(), state.protection()));
  add_pair(&text, "copy",
           copy_cell(state) + (state.is_protected() ? ", verified" : ", it cannot be taken over"));
  add_pair(&text, "stand-in", yes_no(state.standing_in()));
  if (state.queue_position() != 0)
    add_pair(&text, "queue", fmt::format("waits at position {}", state.queue_position()));
  add_pair(&text, "epoch", fmt::format("{}", state.epoch()));
  add_pair(&text, "operation", state.operation());
  text += copies_view("DATABASE", state.databases(), how);
  text += copies_view("FILES", state.files(), how);
  if (state.primary_applications_size() + state.stand_in_applications_size() != 0) {
    text += "\n" + applications_view(state.primary_applications(), state.stand_in_applications(), how);
  }
  if (state.warnings_size() != 0) text += "\n";
  for (const auto& line : state.warnings()) text += warning(line, how);
  return text;
}

std::string state_line(const v1::ServerState& state, const view& how) {
  auto line = fmt::format("{} {} {}", time_text(state.since()), state.name(), status_word(state.status()));
  if (!state.reason().empty()) line += ": " + state.reason();
  if (!state.next().empty()) line += "; next: " + state.next();
  return tinted(printable(line), how.colored ? tint_of(state.status()) : tint::plain, how.colored) + "\n";
}

bool is_healthy(const v1::GetStatusResponse& status) {
  return !status.host().blind() &&
         std::all_of(status.servers().begin(), status.servers().end(),
                     [](const auto& state) { return state.status() == v1::SERVER_STATUS_OK; });
}

std::string explain_view(const v1::ExplainResponse& explained, const view& how) {
  std::string text;
  // The text may have several lines; each is made printable by itself.
  std::string_view rest = explained.text();
  while (!rest.empty()) {
    const auto end = std::min(rest.find('\n'), rest.size());
    text += printable(rest.substr(0, end)) + "\n";
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  for (const auto& line : explained.state().warnings()) text += warning(line, how);
  text += copies_view("DATABASE", explained.state().databases(), how);
  text += copies_view("FILES", explained.state().files(), how);
  if (explained.steps_size() > 0) {
    text_table steps{{"STEP", "BEGAN", "TOOK", "OUTCOME"}};
    for (const auto& step : explained.steps()) {
      const auto took = [](const auto& from, const auto& to) {
        return duration_text(
            std::chrono::milliseconds(google::protobuf::util::TimeUtil::DurationToMilliseconds(to - from)));
      };
      steps.add_row({{step.step()},
                     {time_text(step.began_at())},
                     {step.has_ended_at() ? took(step.began_at(), step.ended_at()) : "-"},
                     {step.outcome()}});
    }
    text += "\n" + steps.text(how.width, how.colored);
  }
  if (explained.transitions_size() == 0) return text;
  text += fmt::format("\nFrom {} it can go on like this:\n", explained.state().state());
  text_table table{{"WHEN", "IF", "THEN", "WHY"}};
  for (const auto& row : explained.transitions())
    table.add_row({{row.event()}, {row.guard()}, {row.to()}, {row.comment()}});
  return text + table.text(how.width, how.colored);
}

std::string checks_view(const google::protobuf::RepeatedPtrField<v1::CheckResult>& checks, const view& how) {
  text_table table{{"RESULT", "CHECK", "DETAIL"}};
  for (const auto& check : checks) {
    table.add_row({{check.ok() ? "OK" : "FAILED", check.ok() ? tint::good : tint::bad},
                   {check.name()},
                   {check.detail()}});
  }
  return table.text(how.width, how.colored);
}

std::string applications_view(const google::protobuf::RepeatedPtrField<v1::ApplicationStatus>& primary,
                              const google::protobuf::RepeatedPtrField<v1::ApplicationStatus>& stand_in,
                              const view& how) {
  text_table table{{"APPLICATION", "WHERE", "STATE", "SINCE", "PID", "RESTARTS", "LAST EVENT"}};
  const auto add = [&](const auto& applications, const char* where) {
    for (const auto& application : applications) {
      const bool bad = application.state() == v1::APPLICATION_STATE_FAILED ||
                       application.state() == v1::APPLICATION_STATE_UNHEALTHY;
      table.add_row(
          {{application.name()},
           {where},
           {enum_text(v1::ApplicationState_descriptor(), application.state()), bad ? tint::bad : tint::plain},
           {ago_text(application.since(), how.now)},
           {application.pid() == 0 ? "" : fmt::format("{}", application.pid())},
           {fmt::format("{}", application.restarts())},
           {application.last_event()}});
    }
  };
  add(primary, "primary");
  add(stand_in, "stand-in");
  return table.text(how.width, how.colored);
}

}  // namespace understudy::ctl
