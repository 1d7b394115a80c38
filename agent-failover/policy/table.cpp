#include "agent-failover/policy/table.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <array>

#include "agent-failover/policy/effects.hpp"

namespace understudy::policy {
namespace {

const std::vector<row>& rows() {
  static const std::vector<row> all = [] {
    std::vector<row> made;
    add_watching_rows(made);
    add_takeover_rows(made);
    add_failback_rows(made);
    add_common_rows(made);
    return made;
  }();
  return all;
}

// The rows of one event kind, in the table's order.
std::span<const row* const> rows_for(event_kind kind) {
  static const std::array<std::vector<const row*>, event_kind_count> index = [] {
    std::array<std::vector<const row*>, event_kind_count> made;
    for (const row& each : rows()) made[static_cast<std::size_t>(each.when)].push_back(&each);
    return made;
  }();
  return index[static_cast<std::size_t>(kind)];
}

bool is_result(event_kind kind) {
  return kind == event_kind::step_done || kind == event_kind::step_failed;
}

bool leaves(const row& each, const primary_state& state) {
  return (each.from >> static_cast<unsigned>(state.at) & 1u) != 0 &&
         (each.steps == 0 || (each.steps >> static_cast<unsigned>(state.doing) & 1u) != 0);
}

diverged_choice choice_in(const primary_state& state, const event& what) {
  switch (what.kind) {
    case event_kind::operator_failback:
    case event_kind::operator_replicate_to_live:
      return what.choice;
    case event_kind::primary_back:
      return state.configured.auto_stop_choice;
    default:
      return state.choice;
  }
}

// What an operator reads when a guard stands in the way of a command.
const char* in_the_way(guard which) {
  switch (which) {
    case guard::has_copy:
      return "there is no verified copy yet; make one with replicate from-live";
    case guard::force_asked:
      return "only with --force from here";
    default:
      return describe(which);
  }
}

// What stands in the way in the row that comes nearest: --force is worth naming only where nothing else is
// missing.
std::string refusal_of(const primary_state& state, const event& what) {
  if (what.kind < event_kind::operator_suspend || what.kind > event_kind::operator_cancel) return {};
  guard obstacle = guard::none;
  for (const row* each : rows_for(what.kind)) {
    if (!leaves(*each, state)) continue;
    for (const guard which : each->guards) {
      if (holds(which, state, what)) continue;
      if (obstacle == guard::none || obstacle == guard::force_asked) obstacle = which;
      break;
    }
  }
  if (obstacle == guard::none)
    return fmt::format("{} is not possible in {}", to_string(what.kind), name_of(state));
  return fmt::format("{} is refused in {}: {}", to_string(what.kind), name_of(state), in_the_way(obstacle));
}

std::string joined(const std::vector<guard>& guards) {
  std::string text;
  for (const guard each : guards) {
    if (!text.empty()) text += " and ";
    text += to_string(each);
  }
  return text;
}

}  // namespace

std::span<const row> table() {
  return rows();
}

result step(const primary_state& state, const event& what, guard disabled) {
  result made{.state = state, .actions = {}, .by = nullptr, .refusal = {}};
  // A result of a step that is not the present one comes from before a restart, or from a step given up.
  const bool stale = is_result(what.kind) && (what.which != state.doing || what.which == step_id::none);
  if (stale) return made;
  for (const row* each : rows_for(what.kind)) {
    if (!leaves(*each, state)) continue;
    const bool open = std::all_of(each->guards.begin(), each->guards.end(), [&](guard which) {
      return which == disabled || holds(which, state, what);
    });
    if (!open) continue;
    made.by = each;
    for (const effect does : each->effects) apply(does, made.state, what, made.actions);
    if (!each->stays) {
      made.state.at = each->to;
      made.state.doing = each->next;
      if (each->next != step_id::none) {
        made.actions.push_back({.kind = action_kind::start_step, .which = each->next});
      }
    }
    for (action& told : made.actions) {
      if (told.kind != action_kind::raise || told.what != notice::state) continue;
      told.text = each->stays ? fmt::format("{}: {}", name_of(state), told.text)
                              : fmt::format("{} -> {}: {}", name_of(state), name_of(made.state), told.text);
    }
    return made;
  }
  made.refusal = refusal_of(state, what);
  return made;
}

bool holds(guard which, const primary_state& state, const event& what) {
  switch (which) {
    case guard::none:
      return true;
    case guard::takeover_due:
      return state.missed + 1 >= takeover_threshold(state);
    case guard::warning_due:
      return state.missed + 1 >= state.configured.warning_count;
    case guard::host_blind:
      return state.host_blind;
    case guard::has_copy:
      return state.replication.has_copy;
    case guard::automation_on:
      return !state.configured.manual_only;
    case guard::versions_agree:
      return !state.versions_differ || state.configured.allow_version_difference;
    case guard::settled:
      return !state.flapping;
    case guard::obstacle_noted:
      return state.blocked != block::none;
    case guard::automatic:
      return state.why_acting == cause::automatic;
    case guard::planned:
      return state.why_acting == cause::planned;
    case guard::force_asked:
      return what.force;
    case guard::start_owed:
      return state.start_owed;
    case guard::copy_newest:
      return state.copy_newest;
    case guard::address_taken:
      return what.failed_as == failure::address_in_use;
    case guard::stand_in_ran:
      return what.stand_in_ran;
    case guard::queued:
      return state.queue_position != 0;
    case guard::resume_asked:
      return state.resume_asked;
    case guard::was_serving:
      return state.serving;
    case guard::keep_primary:
      return choice_in(state, what) == diverged_choice::keep_primary;
    case guard::auto_stop_on:
      return state.configured.auto_stop;
    case guard::no_assumed_ip:
      return !state.configured.assume_ip;
    case guard::choice_stored:
      return state.configured.auto_stop_choice != diverged_choice::none;
    case guard::first_difference:
      return what.differ && !state.versions_differ;
    case guard::was_warned:
      return state.missed >= state.configured.warning_count;
    case guard::missed_some:
      return state.missed > 0;
  }
  return false;
}

std::vector<transition> transitions_from(const primary_state& state) {
  std::vector<transition> found;
  for (const row& each : rows()) {
    if (!leaves(each, state)) continue;
    primary_state after = state;
    if (!each.stays) {
      after.at = each.to;
      after.doing = each.next;
    }
    found.push_back(
        {to_string(each.when), joined(each.guards), each.stays ? "(stays)" : name_of(after), each.comment});
  }
  return found;
}

}  // namespace understudy::policy
