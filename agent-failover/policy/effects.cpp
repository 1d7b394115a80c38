#include "agent-failover/policy/effects.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <utility>

namespace understudy::policy {
namespace {

void tell(std::vector<action>& actions, notice what, std::string text) {
  actions.push_back({.kind = action_kind::raise, .what = what, .text = std::move(text)});
}

void ask(std::vector<action>& actions, action_kind kind) {
  actions.push_back({.kind = kind});
}

void sync(std::vector<action>& actions, action_kind kind, sync_part part) {
  actions.push_back({.kind = kind, .part = part});
}

block block_of(const event& what) {
  switch (what.failed_as) {
    case failure::primary_alive:
      return block::none;
    case failure::copy_stale:
      return block::copy_stale;
    case failure::address_in_use:
      return block::address_in_use;
    case failure::hook_veto:
      return block::hook_veto;
    case failure::diverged:
    case failure::unreachable:
    case failure::other:
      break;
  }
  if (what.which == step_id::claim_right) return block::right_not_secured;
  if (what.which == step_id::start_application) return block::application_failed;
  return block::step_failed;
}

// "stop by anna: new disk" where there is somebody to name.
std::string cause_of(const event& what) {
  std::string text(to_string(what.kind));
  if (!what.by.empty()) text += " by " + what.by;
  if (!what.reason.empty()) text += ": " + what.reason;
  return text;
}

void block_as(primary_state& state, block why, std::vector<action>& actions) {
  if (why != block::none && why != state.blocked) {
    tell(actions, notice::takeover_blocked,
         state.reason.empty() ? std::string(to_string(why))
                              : fmt::format("{}: {}", to_string(why), state.reason));
  }
  state.blocked = why;
}

void detection(effect which, primary_state& state, const event& what, std::vector<action>& actions) {
  switch (which) {
    case effect::count_miss:
      ++state.missed;
      break;
    case effect::claim_if_due:
      if (state.configured.mode != protection::compat && state.missed >= state.configured.claim_count &&
          !state.claimed) {
        state.claimed = true;
        ask(actions, action_kind::record_claim);
      }
      break;
    case effect::heard:
      state.missed = 0;
      state.after_reboot = false;
      state.reason.clear();
      break;
    case effect::reset_count:
      state.missed = 0;
      break;
    case effect::rebooted:
      state.after_reboot = true;
      break;
    case effect::note_blind:
      state.host_blind = true;
      break;
    case effect::note_sight:
      state.host_blind = false;
      break;
    default:
      (void)what;
  }
}

// The epoch with which this host's next order counts at an agent whose record is `what`. Where the agent says
// that this host has the right, or both say that the primary has it, the next change of hands adds one; where
// only the agent says primary it refuses any fence that is not newer, so the fence itself has to be.
std::uint64_t epoch_beside(const primary_state& state, const event& what) {
  const bool refuses_fence = state.owner == right_owner::failover_host && what.owner == right_owner::primary;
  return std::max(state.epoch, what.epoch + (refuses_fence ? 1 : 0));
}

void right_and_slot(effect which, primary_state& state, const event& what, std::vector<action>& actions) {
  switch (which) {
    case effect::withdraw:
      if (state.claimed) ask(actions, action_kind::withdraw_claim);
      state.claimed = false;
      break;
    case effect::mark_claim:
      state.claimed = true;
      break;
    case effect::take_right:
      if (state.owner == right_owner::primary) ++state.epoch;
      state.owner = right_owner::failover_host;
      state.claimed = false;
      break;
    case effect::give_right:
      if (state.owner == right_owner::failover_host) ++state.epoch;
      state.owner = right_owner::primary;
      state.start_owed = true;
      state.copy_newest = false;
      state.told = false;
      break;
    case effect::note_epoch:
      state.epoch = epoch_beside(state, what);
      break;
    case effect::ask_slot:
      ask(actions, action_kind::request_slot);
      break;
    case effect::got_slot:
      state.slot_held = true;
      state.queue_position = 0;
      break;
    case effect::queue:
      state.queue_position = what.position;
      break;
    case effect::free_slot:
      ask(actions, action_kind::release_slot);
      state.slot_held = false;
      state.queue_position = 0;
      break;
    default:
      break;
  }
}

void reasons(effect which, primary_state& state, const event& what, std::vector<action>& actions) {
  switch (which) {
    case effect::why_automatic:
      state.why_acting = cause::automatic;
      break;
    case effect::why_operator:
      state.why_acting = what.force ? cause::forced : cause::planned;
      break;
    case effect::why_forced:
      state.why_acting = cause::forced;
      break;
    case effect::why_done:
      state.why_acting = cause::none;
      break;
    case effect::note_reason:
      state.reason = what.reason;
      if (what.kind == event_kind::step_failed) {
        state.reason = fmt::format("{} failed: {}", to_string(what.which), what.reason);
        if (what.failed_as == failure::diverged) {
          state.reason +=
              "; both sides hold data that the other lacks: choose --discard-primary (the copy wins) "
              "or --keep-primary (the primary wins), the loser is set aside";
        }
      }
      break;
    case effect::clear_reason:
      state.reason.clear();
      break;
    case effect::note_failure:
      state.reason = fmt::format("{} failed: {}", to_string(what.which), what.reason);
      if (state.why_acting == cause::planned && what.failed_as == failure::unreachable) {
        state.reason += "; --force takes over without asking the primary";
      }
      block_as(state, block_of(what), actions);
      break;
    case effect::name_obstacle:
      if (obstacle(state) != block::none) block_as(state, obstacle(state), actions);
      break;
    case effect::block_busy:
      state.blocked = block::slot_busy;
      break;
    case effect::unblock:
      state.blocked = block::none;
      break;
    case effect::note_pause:
      state.until_ms = what.until_ms;
      state.by = what.by;
      state.why = what.reason;
      break;
    case effect::clear_pause:
      state.until_ms = 0;
      state.by.clear();
      state.why.clear();
      break;
    default:
      break;
  }
}

void replication(effect which, primary_state& state, const event& what, std::vector<action>& actions) {
  replication_state& copy = state.replication;
  const copy_phase unstarted = copy.has_copy ? copy_phase::behind : copy_phase::unprotected;
  switch (which) {
    case effect::stop_files:
      sync(actions, action_kind::stop_sync, sync_part::files);
      break;
    case effect::start_files:
      sync(actions, action_kind::start_sync, sync_part::files);
      break;
    case effect::stop_all:
      sync(actions, action_kind::stop_sync, sync_part::both);
      copy.at = copy_phase::stopped;
      break;
    case effect::start_all:
      sync(actions, action_kind::start_sync, sync_part::both);
      copy.at = unstarted;
      break;
    case effect::start_databases:
      sync(actions, action_kind::start_sync, sync_part::databases);
      copy.at = unstarted;
      break;
    case effect::freeze:
      copy.at = copy_phase::stopped;
      break;
    case effect::begin_copy:
      ask(actions, action_kind::start_copy);
      break;
    case effect::note_copying:
      copy.at = copy_phase::copying;
      break;
    case effect::note_copied:
      copy = {copy_phase::streaming, true};
      break;
    case effect::note_copy_failed:
      copy.at = unstarted;
      tell(actions, notice::replication_failed, what.reason);
      if (copy.has_copy) tell(actions, notice::rolled_back, "the previous copy stays in use: " + what.reason);
      break;
    case effect::note_replication:
      if (copy.has_copy && copy.at != copy_phase::copying) copy.at = what.replication;
      break;
    case effect::lose_copy:
      copy.has_copy = false;
      break;
    default:
      break;
  }
}

void takeover_and_failback(effect which, primary_state& state, const event& what,
                           std::vector<action>& actions) {
  switch (which) {
    case effect::served:
      if (!state.told) tell(actions, notice::takeover, "the stand-in was started");
      state.told = true;
      state.copy_newest = true;
      break;
    case effect::may_have_run:
      state.copy_newest = true;
      break;
    case effect::arrived:
      state.why_acting = cause::none;
      state.blocked = block::none;
      state.missed = 0;
      break;
    case effect::came_home:
      state.start_owed = false;
      state.missed = 0;
      state.blocked = block::none;
      state.choice = diverged_choice::none;
      state.serving = false;
      state.reason.clear();
      tell(actions, notice::failback, "the primary has the right to run again, its application was started");
      break;
    case effect::choose:
      state.choice = what.choice;
      break;
    case effect::choose_stored:
      state.choice = state.configured.auto_stop_choice;
      break;
    case effect::serving:
      state.serving = true;
      break;
    case effect::not_serving:
      state.serving = false;
      break;
    case effect::want_resume:
      state.resume_asked = true;
      break;
    case effect::no_resume:
      state.resume_asked = false;
      break;
    case effect::settle:
      if (state.why_acting != cause::automatic) break;
      state.flapping = true;
      ask(actions, action_kind::start_settle_timer);
      break;
    case effect::back_off:
      if (!state.configured.auto_stop) break;
      state.flapping = true;
      ask(actions, action_kind::start_settle_timer);
      break;
    case effect::settle_again:
      if (state.flapping) ask(actions, action_kind::start_settle_timer);
      break;
    case effect::settle_over:
      state.flapping = false;
      break;
    case effect::begin_again:
      if (state.doing != step_id::none) {
        actions.push_back({.kind = action_kind::start_step, .which = state.doing});
      }
      break;
    case effect::cancel_running:
      if (state.doing != step_id::none) {
        actions.push_back({.kind = action_kind::cancel_step, .which = state.doing});
      }
      break;
    case effect::retry_later:
      ask(actions, action_kind::schedule_retry);
      break;
    case effect::note_versions:
      state.versions_differ = what.differ;
      break;
    case effect::note_settings:
      state.configured = what.configured;
      break;
    default:
      break;
  }
}

void telling(effect which, const primary_state& state, const event& what, std::vector<action>& actions) {
  switch (which) {
    case effect::tell_warning:
      tell(actions, notice::warning, fmt::format("{} consecutive pings missed", state.missed));
      break;
    case effect::tell_failure:
      tell(actions, notice::failure, fmt::format("{} consecutive pings missed: failed", state.missed));
      break;
    case effect::tell_denied:
      tell(actions, state.why_acting == cause::automatic ? notice::second_failure : notice::takeover_blocked,
           fmt::format("queued at {}: {}", what.position, what.reason));
      break;
    case effect::tell_undone:
      tell(actions, notice::takeover_undone, fmt::format("{}: {}", name_of(state), cause_of(what)));
      break;
    case effect::tell_impaired:
      tell(actions, notice::takeover_impaired,
           fmt::format("{} failed: {}", to_string(what.which), what.reason));
      break;
    case effect::tell_reset:
      tell(actions, notice::server_reset, what.reason);
      break;
    case effect::tell_conflict:
      tell(actions, notice::conflict, what.reason);
      break;
    case effect::tell_stood_down:
      tell(actions, notice::stood_down, "the stand-in was stopped; the copy is the newest data");
      break;
    case effect::tell_failback_failed:
      tell(actions, notice::failback_failed, state.reason);
      break;
    case effect::tell_versions:
      tell(actions, notice::versions_differ, what.reason);
      break;
    case effect::tell_blind:
      tell(actions, notice::blind, what.reason);
      break;
    case effect::tell_state:
      tell(actions, notice::state, cause_of(what));  // step() says from where to where
      break;
    default:
      break;
  }
}

}  // namespace

// The groups are disjoint: each ignores what belongs to another.
void apply(effect which, primary_state& state, const event& what, std::vector<action>& actions) {
  if (which <= effect::note_sight) return detection(which, state, what, actions);
  if (which <= effect::free_slot) return right_and_slot(which, state, what, actions);
  if (which <= effect::clear_pause) return reasons(which, state, what, actions);
  if (which <= effect::lose_copy) return replication(which, state, what, actions);
  if (which <= effect::note_settings) return takeover_and_failback(which, state, what, actions);
  telling(which, state, what, actions);
}

row go(place from, event_kind when, std::vector<guard> guards, target to, std::vector<effect> effects,
       const char* comment) {
  return {from.phases, from.steps,         when,   std::move(guards), false, to.to,
          to.next,     std::move(effects), comment};
}

row stay(place from, event_kind when, std::vector<guard> guards, std::vector<effect> effects,
         const char* comment) {
  return {from.phases,   from.steps,         when,   std::move(guards), true, phase::monitoring,
          step_id::none, std::move(effects), comment};
}

}  // namespace understudy::policy
