#pragma once

// A primary that tests drive event by event.

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "agent-failover/policy/table.hpp"

namespace understudy::policy {

struct driven_primary {
  primary_state state;
  std::vector<action> actions;  // of the last event
  std::string refusal;          // of the last event
  bool ignored = false;         // the last event had no row

  driven_primary() { state.replication = {copy_phase::streaming, true}; }

  driven_primary& on(const event& what) {
    result made = step(state, what);
    state = std::move(made.state);
    actions = std::move(made.actions);
    refusal = std::move(made.refusal);
    ignored = made.by == nullptr;
    return *this;
  }
  driven_primary& on(event_kind kind) { return on(happened(kind)); }
  driven_primary& miss(int times) {
    for (int i = 0; i < times; ++i) on(event_kind::probe_failed);
    return *this;
  }
  // Answers every step with done, up to and without `last`, or until no step is under way.
  driven_primary& work(step_id last = step_id::none) {
    while (state.doing != step_id::none && state.doing != last) on(done(state.doing));
    return *this;
  }
  // Missed pings up to the stand-in.
  driven_primary& taken_over() {
    return miss(static_cast<int>(takeover_threshold(state))).on(event_kind::slot_granted).work();
  }
  // As taken_over, and stopped before `last`.
  driven_primary& taking_over_until(step_id last) {
    return miss(static_cast<int>(takeover_threshold(state))).on(event_kind::slot_granted).work(last);
  }

  bool asks(action_kind kind) const {
    return std::any_of(actions.begin(), actions.end(), [&](const action& each) { return each.kind == kind; });
  }
  bool asks_for(const action& what) const {
    return std::find(actions.begin(), actions.end(), what) != actions.end();
  }
  bool starts(step_id which) const {
    return std::any_of(actions.begin(), actions.end(), [&](const action& each) {
      return each.kind == action_kind::start_step && each.which == which;
    });
  }
  bool tells(notice what) const {
    return std::any_of(actions.begin(), actions.end(), [&](const action& each) {
      return each.kind == action_kind::raise && each.what == what;
    });
  }
  std::string name() const { return name_of(state); }
};

}  // namespace understudy::policy
