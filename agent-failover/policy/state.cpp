#include "agent-failover/policy/state.hpp"

#include <fmt/core.h>

namespace understudy::policy {

std::uint32_t takeover_threshold(const primary_state& state) {
  return state.after_reboot ? state.configured.failover_count_after_reboot : state.configured.failover_count;
}

block obstacle(const primary_state& state) {
  if (!state.replication.has_copy) return block::no_copy;
  if (state.configured.manual_only) return block::automation_off;
  if (state.versions_differ && !state.configured.allow_version_difference) return block::versions_differ;
  if (state.flapping) return block::flapping;
  return block::none;
}

bool may_grant(const primary_state& state) {
  if (state.owner != right_owner::primary || state.claimed) return false;
  switch (state.at) {
    case phase::monitoring:
    case phase::suspect:
    case phase::warned:
    case phase::blind:
    case phase::suspended:
    case phase::stopped:
    case phase::blocked:
      return true;
    case phase::failing_back:
      return state.doing == step_id::start_primary;
    case phase::claiming:
    case phase::taking_over:
    case phase::standing_in:
    case phase::conflict:
    case phase::standing_down:
    case phase::stood_down:
      return false;
  }
  return false;
}

bool must_persist(const primary_state& before, const primary_state& after) {
  // A count below every threshold is worth nothing after a restart: counting begins anew then.
  const auto counting = [](phase at) { return at == phase::monitoring || at == phase::suspect; };
  primary_state a = before, b = after;
  if (counting(a.at) && counting(b.at)) a.at = b.at;
  a.missed = b.missed;
  return !(a == b);
}

std::string name_of(const primary_state& state) {
  switch (state.at) {
    case phase::suspect:
      return fmt::format("Suspect({})", state.missed);
    case phase::blocked:
      return fmt::format("Blocked({})", to_string(state.blocked));
    default:
      if (state.doing == step_id::none) return to_string(state.at);
      return fmt::format("{}({})", to_string(state.at), to_string(state.doing));
  }
}

}  // namespace understudy::policy
