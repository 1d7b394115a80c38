#include "agent-failover/actors/server_view.hpp"

#include <fmt/core.h>
#include <google/protobuf/util/time_util.h>

#include <algorithm>
#include <charconv>
#include <optional>
#include <string_view>
#include <utility>

#include "agent-failover/policy/status.hpp"

namespace understudy::actors {
namespace {

using google::protobuf::util::TimeUtil;

v1::ServerStatus to_proto(policy::status status) {
  switch (status) {
    case policy::status::ok:
      return v1::SERVER_STATUS_OK;
    case policy::status::suspended:
      return v1::SERVER_STATUS_SUSPENDED;
    case policy::status::stopped:
      return v1::SERVER_STATUS_STOPPED;
    case policy::status::suspect:
      return v1::SERVER_STATUS_SUSPECT;
    case policy::status::failure:
      return v1::SERVER_STATUS_FAILURE;
    case policy::status::replicating:
      return v1::SERVER_STATUS_REPLICATING;
  }
  return v1::SERVER_STATUS_UNSPECIFIED;
}

// The first application of a primary that answers pings and yet does not serve.
std::string doubt(const view_inputs& in) {
  if (in.machine.owner != policy::right_owner::primary || !in.agent_connected || in.agent == nullptr)
    return "";
  for (const auto& application : in.agent->applications()) {
    if (application.state() == v1::APPLICATION_STATE_FAILED ||
        application.state() == v1::APPLICATION_STATE_UNHEALTHY) {
      return fmt::format("{} on the primary: {}", application.name(), application.last_event());
    }
  }
  return "";
}

// Of "1.2.3", "1.2" or "1.2-rc1": whatever comes after these two does not count.
std::optional<std::pair<unsigned, unsigned>> major_and_minor(std::string_view version) {
  std::pair<unsigned, unsigned> found;  // unsigned: a sign is refused
  const char* const end = version.data() + version.size();
  const auto major = std::from_chars(version.data(), end, found.first);
  if (major.ec != std::errc() || major.ptr == end || *major.ptr != '.') return std::nullopt;
  const auto minor = std::from_chars(major.ptr + 1, end, found.second);
  if (minor.ec != std::errc()) return std::nullopt;
  if (minor.ptr != end && *minor.ptr != '.' && *minor.ptr != '-' && *minor.ptr != '+') return std::nullopt;
  return found;
}

}  // namespace

v1::ServerState view(const view_inputs& in) {
  const policy::primary_state& machine = in.machine;
  const std::string application_doubt = doubt(in);
  v1::ServerState state;
  state.set_name(in.spec.name());
  state.set_address(in.spec.address());
  state.set_mode(in.spec.mode());
  state.set_status(to_proto(policy::status_of(machine, !application_doubt.empty())));
  state.set_state(policy::name_of(machine));
  const auto since = TimeUtil::MillisecondsToTimestamp(
      std::chrono::duration_cast<std::chrono::milliseconds>(in.since.time_since_epoch()).count());
  *state.mutable_since() = since;
  const policy::explanation words = policy::explain(machine, TimeUtil::ToString(since));
  state.set_reason(words.why.empty() ? application_doubt : words.why);
  state.set_next(words.next);
  state.set_missed_pings(machine.missed);
  state.set_failover_count(policy::takeover_threshold(machine));
  if (in.round_trip.count() > 0)
    *state.mutable_round_trip() = TimeUtil::NanosecondsToDuration(in.round_trip.count());
  for (const auto& copy : in.databases) *state.add_databases() = copy;
  for (const auto& copy : in.files) *state.add_files() = copy;
  state.set_is_protected(machine.replication.has_copy);
  state.set_agent_connected(in.agent_connected);
  if (in.agent != nullptr) {
    state.set_agent_version(in.agent->version());
    *state.mutable_primary_applications() = in.agent->applications();
  }
  for (const auto& application : in.stand_in) *state.add_stand_in_applications() = application;
  state.set_epoch(machine.epoch);
  state.set_standing_in(machine.at == policy::phase::standing_in || machine.at == policy::phase::conflict);
  state.set_queue_position(machine.queue_position);
  if (machine.until_ms > 0) *state.mutable_until() = TimeUtil::MillisecondsToTimestamp(machine.until_ms);
  for (const auto& warning : in.warnings) state.add_warnings(warning);
  if (!in.agent_connected && !in.agent_trouble.empty())
    state.add_warnings("the agent is not connected: " + in.agent_trouble);
  if (!machine.replication.has_copy) {
    state.add_warnings(fmt::format(
        "unprotected: there is no verified copy yet; `understudyctl replicate from-live {}` makes it",
        in.spec.name()));
  }
  state.set_protection(v1::PROTECTION_MODE_COMPAT);
  state.set_operation(in.operation);
  return state;
}

version_verdict compare_versions(const std::string& host, const std::string& agent) {
  if (host == agent || agent.empty()) return {};
  const std::optional<std::pair<unsigned, unsigned>> ours = major_and_minor(host);
  const std::optional<std::pair<unsigned, unsigned>> theirs = major_and_minor(agent);
  if (!ours || !theirs) {
    return {.refused = true,
            .text = fmt::format("the agent says that its version is \"{}\", which is none", agent)};
  }
  if (*ours == *theirs) return {};
  if (ours->first != theirs->first ||
      std::max(ours->second, theirs->second) - std::min(ours->second, theirs->second) > 1) {
    return {.refused = true,
            .text = fmt::format(
                "the agent has version {} and this host {}: more than one minor version apart do not work "
                "together; upgrade the older one",
                agent, host)};
  }
  return {.refused = false, .text = fmt::format("the agent has version {} and this host {}", agent, host)};
}

}  // namespace understudy::actors
