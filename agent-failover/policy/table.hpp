#pragma once

// The state machine: one table, one commented row per transition. The code that runs, docs/state-machine.md,
// the transitions that `explain` lists and the exhaustive model check are all made from it.

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "agent-failover/policy/action.hpp"
#include "agent-failover/policy/event.hpp"
#include "agent-failover/policy/state.hpp"

namespace understudy::policy {

// The conditions a row may name; all of a row's must hold. Each one is proven necessary by the model check.
enum class guard : std::uint8_t {
  none,              // always
  takeover_due,      // this miss reaches the takeover count that applies
  warning_due,       // this miss reaches the warning count
  host_blind,        // self health says that this host sees nothing
  has_copy,          // a verified copy exists
  automation_on,     // the server is not by-hand only
  versions_agree,    // the application's versions agree, or a difference is allowed
  settled,           // no handing back by itself, done or failed, a short while ago
  obstacle_noted,    // the takeover was undone for a reason that still stands
  automatic,         // the takeover is automatic: nobody asked for it
  planned,           // the takeover is a switchover
  force_asked,       // the operator said --force
  start_owed,        // we stopped the primary's application and owe it a start
  copy_newest,       // a stand-in ran since the primary last had the right
  address_taken,     // the step failed because somebody else answers on the address
  stand_in_ran,      // the failed start may have executed the application
  queued,            // this primary waits in the queue for the place
  resume_asked,      // an operator wants the stand-in back
  was_serving,       // the failback began while the stand-in served
  keep_primary,      // the primary's data wins
  auto_stop_on,      // auto_stop is set
  no_assumed_ip,     // assume_ip is not set
  choice_stored,     // what auto_stop does with diverged data was chosen beforehand
  first_difference,  // the versions were not known to differ
  was_warned,        // the frozen count had reached the warning count
  missed_some,       // the frozen count is not zero
};
inline constexpr int guard_count = 26;

// What a row does to the state and which actions it asks for; described where it is applied (effects.cpp).
enum class effect : std::uint8_t;

struct row {
  std::uint32_t from = 0;   // bit set of phases
  std::uint64_t steps = 0;  // bit set of steps; 0: any
  event_kind when = event_kind::probe_ok;
  std::vector<guard> guards;
  bool stays = false;  // phase and step remain
  phase to = phase::monitoring;
  step_id next = step_id::none;  // begun (start_step) unless none
  std::vector<effect> effects;
  const char* comment = "";
};

std::span<const row> table();

struct result {
  primary_state state;
  std::vector<action> actions;
  const row* by = nullptr;  // the row that fired; null: the event was ignored, `state` is unchanged
  std::string refusal;      // then: why, for an operator's command
};

// Pure. `disabled` is for tests: that guard then always holds.
result step(const primary_state& state, const event& what, guard disabled = guard::none);

bool holds(guard which, const primary_state& state, const event& what);
const char* to_string(guard value);   // "takeover_due"
const char* to_string(effect value);  // "count_miss"
const char* describe(guard value);    // "this miss reaches the takeover count that applies"

// The rows that leave `state`, for `explain`.
struct transition {
  std::string event;
  std::string guard;  // the guards' names, joined by " and "; empty: always
  std::string to;
  std::string comment;
};
std::vector<transition> transitions_from(const primary_state& state);

// docs/state-machine.md, whole: diagram (Mermaid stateDiagram-v2) and table.
std::string render_diagram();

}  // namespace understudy::policy
