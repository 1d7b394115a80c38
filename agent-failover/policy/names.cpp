// The names of every enumerator, as shown, stored and logged.

#include "agent-failover/policy/action.hpp"
#include "agent-failover/policy/event.hpp"
#include "agent-failover/policy/state.hpp"

namespace understudy::policy {

const char* to_string(phase value) {
  switch (value) {
    case phase::monitoring:
      return "Monitoring";
    case phase::suspect:
      return "Suspect";
    case phase::warned:
      return "Warned";
    case phase::blind:
      return "Blind";
    case phase::suspended:
      return "Suspended";
    case phase::stopped:
      return "Stopped";
    case phase::claiming:
      return "Claiming";
    case phase::blocked:
      return "Blocked";
    case phase::taking_over:
      return "TakingOver";
    case phase::standing_in:
      return "StandingIn";
    case phase::conflict:
      return "Conflict";
    case phase::standing_down:
      return "StandingDown";
    case phase::stood_down:
      return "StoodDown";
    case phase::failing_back:
      return "FailingBack";
  }
  return "?";
}

const char* to_string(step_id value) {
  switch (value) {
    case step_id::none:
      return "none";
    case step_id::claim_right:
      return "claim_right";
    case step_id::stop_primary:
      return "stop_primary";
    case step_id::drain_primary:
      return "drain_primary";
    case step_id::freeze_apply:
      return "freeze_apply";
    case step_id::verify_copy:
      return "verify_copy";
    case step_id::pre_hook:
      return "pre_hook";
    case step_id::fence:
      return "fence";
    case step_id::address_probe:
      return "address_probe";
    case step_id::add_address:
      return "add_address";
    case step_id::start_application:
      return "start_application";
    case step_id::application_check:
      return "application_check";
    case step_id::announce:
      return "announce";
    case step_id::post_hook:
      return "post_hook";
    case step_id::return_address:
      return "return_address";
    case step_id::return_right:
      return "return_right";
    case step_id::fence_again:
      return "fence_again";
    case step_id::stop_application:
      return "stop_application";
    case step_id::fold_copy:
      return "fold_copy";
    case step_id::give_up_address:
      return "give_up_address";
    case step_id::reverse_heal:
      return "reverse_heal";
    case step_id::stop_stand_in:
      return "stop_stand_in";
    case step_id::drain:
      return "drain";
    case step_id::set_aside:
      return "set_aside";
    case step_id::verify_equal:
      return "verify_equal";
    case step_id::hand_over:
      return "hand_over";
    case step_id::release_address:
      return "release_address";
    case step_id::start_primary:
      return "start_application";
  }
  return "?";
}

const char* to_string(block value) {
  switch (value) {
    case block::none:
      return "none";
    case block::no_copy:
      return "no copy";
    case block::slot_busy:
      return "slot busy";
    case block::copy_stale:
      return "copy stale";
    case block::address_in_use:
      return "address in use";
    case block::versions_differ:
      return "versions differ";
    case block::flapping:
      return "flapping";
    case block::automation_off:
      return "automation off";
    case block::hook_veto:
      return "hook veto";
    case block::right_not_secured:
      return "right not secured";
    case block::application_failed:
      return "application failed";
    case block::step_failed:
      return "step failed";
  }
  return "?";
}

const char* to_string(copy_phase value) {
  switch (value) {
    case copy_phase::unprotected:
      return "Unprotected";
    case copy_phase::copying:
      return "Copying";
    case copy_phase::streaming:
      return "Streaming";
    case copy_phase::behind:
      return "Behind";
    case copy_phase::cut:
      return "Cut";
    case copy_phase::stopped:
      return "Stopped";
  }
  return "?";
}

const char* to_string(right_owner value) {
  return value == right_owner::primary ? "primary" : "failover host";
}

const char* to_string(protection value) {
  switch (value) {
    case protection::compat:
      return "compat";
    case protection::guarded:
      return "guarded";
    case protection::strict:
      return "strict";
  }
  return "?";
}

const char* to_string(diverged_choice value) {
  switch (value) {
    case diverged_choice::none:
      return "none";
    case diverged_choice::discard_primary:
      return "discard-primary";
    case diverged_choice::keep_primary:
      return "keep-primary";
  }
  return "?";
}

const char* to_string(cause value) {
  switch (value) {
    case cause::none:
      return "none";
    case cause::automatic:
      return "automatic";
    case cause::planned:
      return "planned";
    case cause::forced:
      return "forced";
  }
  return "?";
}

const char* to_string(event_kind value) {
  switch (value) {
    case event_kind::probe_ok:
      return "probe_ok";
    case event_kind::probe_failed:
      return "probe_failed";
    case event_kind::host_blind:
      return "host_blind";
    case event_kind::host_sees:
      return "host_sees";
    case event_kind::agent_reset:
      return "agent_reset";
    case event_kind::primary_back:
      return "primary_back";
    case event_kind::conflict:
      return "conflict";
    case event_kind::agent_epoch:
      return "agent_epoch";
    case event_kind::step_done:
      return "step_done";
    case event_kind::step_failed:
      return "step_failed";
    case event_kind::slot_granted:
      return "slot_granted";
    case event_kind::slot_denied:
      return "slot_denied";
    case event_kind::retry:
      return "retry";
    case event_kind::settled:
      return "settled";
    case event_kind::copy_started:
      return "copy_started";
    case event_kind::copy_done:
      return "copy_done";
    case event_kind::copy_failed:
      return "copy_failed";
    case event_kind::replication_changed:
      return "replication_changed";
    case event_kind::versions_compared:
      return "versions_compared";
    case event_kind::operator_suspend:
      return "suspend";
    case event_kind::operator_resume:
      return "resume";
    case event_kind::operator_stop:
      return "stop";
    case event_kind::operator_start:
      return "start";
    case event_kind::operator_failover:
      return "failover";
    case event_kind::operator_stop_failover:
      return "stop-failover";
    case event_kind::operator_failback:
      return "failback";
    case event_kind::operator_replicate_from_live:
      return "replicate from-live";
    case event_kind::operator_replicate_to_live:
      return "replicate to-live";
    case event_kind::operator_cancel:
      return "cancel";
    case event_kind::until_expired:
      return "until_expired";
    case event_kind::settings_changed:
      return "settings_changed";
    case event_kind::restarted:
      return "restarted";
    case event_kind::host_rebooted:
      return "host_rebooted";
  }
  return "?";
}

const char* to_string(failure value) {
  switch (value) {
    case failure::other:
      return "other";
    case failure::unreachable:
      return "unreachable";
    case failure::diverged:
      return "diverged";
    case failure::copy_stale:
      return "copy_stale";
    case failure::address_in_use:
      return "address_in_use";
    case failure::hook_veto:
      return "hook_veto";
    case failure::primary_alive:
      return "primary_alive";
  }
  return "?";
}

const char* to_string(action_kind value) {
  switch (value) {
    case action_kind::start_step:
      return "start_step";
    case action_kind::cancel_step:
      return "cancel_step";
    case action_kind::request_slot:
      return "request_slot";
    case action_kind::release_slot:
      return "release_slot";
    case action_kind::record_claim:
      return "record_claim";
    case action_kind::withdraw_claim:
      return "withdraw_claim";
    case action_kind::start_sync:
      return "start_sync";
    case action_kind::stop_sync:
      return "stop_sync";
    case action_kind::start_copy:
      return "start_copy";
    case action_kind::raise:
      return "raise";
    case action_kind::schedule_retry:
      return "schedule_retry";
    case action_kind::start_settle_timer:
      return "start_settle_timer";
  }
  return "?";
}

const char* to_string(notice value) {
  switch (value) {
    case notice::warning:
      return "warning";
    case notice::failure:
      return "failure";
    case notice::takeover:
      return "takeover";
    case notice::second_failure:
      return "second_failure";
    case notice::takeover_blocked:
      return "takeover_blocked";
    case notice::takeover_undone:
      return "takeover_undone";
    case notice::takeover_impaired:
      return "takeover_impaired";
    case notice::server_reset:
      return "server_reset";
    case notice::conflict:
      return "conflict";
    case notice::stood_down:
      return "stood_down";
    case notice::failback:
      return "failback";
    case notice::failback_failed:
      return "failback_failed";
    case notice::versions_differ:
      return "versions_differ";
    case notice::replication_failed:
      return "replication_failed";
    case notice::rolled_back:
      return "rolled_back";
    case notice::copy_diverged:
      return "copy_diverged";
    case notice::log_grows:
      return "log_grows";
    case notice::database_damaged:
      return "database_damaged";
    case notice::databases_left_out:
      return "databases_left_out";
    case notice::blind:
      return "blind";
    case notice::state:
      return "state";
  }
  return "?";
}

bool mailed(notice what) {
  switch (what) {
    case notice::failure:
    case notice::stood_down:
    case notice::failback:
    case notice::blind:
    case notice::state:
      return false;
    default:
      return true;
  }
}

}  // namespace understudy::policy
