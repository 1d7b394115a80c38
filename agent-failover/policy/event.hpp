#pragma once

// What can happen to a primary. Values only; made with the functions below.

#include <cstdint>
#include <string>
#include <utility>

#include "agent-failover/policy/state.hpp"

namespace understudy::policy {

enum class event_kind : std::uint8_t {
  // detection
  probe_ok,      // a ping was answered
  probe_failed,  // a ping was not
  host_blind,    // self health: believe no failure (reason)
  host_sees,     // self health: all is well again
  agent_reset,   // the agent reports another boot id (reason)
  primary_back,  // the agent of a failed primary answers, is fenced and can receive data
  conflict,      // while standing in: the primary's application runs, or it uses an adopted address (reason)
  agent_epoch,   // the agent's record of the right: `epoch`, `owner`

  // results. An arbiter's answer to a request made before the last one is dropped, not delivered.
  step_done,     // `which` is done
  step_failed,   // `which` failed (failed_as, reason, stand_in_ran)
  slot_granted,  // the one place is ours
  slot_denied,   // it is taken; `position` in the queue (reason: who has it)
  retry,         // the time asked for by schedule_retry has passed
  settled,       // the time asked for by start_settle_timer has passed

  // replication
  copy_started,         // a bulk copy from the primary began
  copy_done,            // it is verified and in use
  copy_failed,          // it failed; the previous generation, if any, is in use (reason)
  replication_changed,  // `replication`: streaming, behind or cut (reason)
  versions_compared,    // the application's versions: `differ` (reason)

  // operators
  operator_suspend,              // until_ms, by, reason
  operator_resume,               // by
  operator_stop,                 // until_ms, by, reason
  operator_start,                // by
  operator_failover,             // switchover; with `force` without asking the primary. by, reason
  operator_stop_failover,        // by, reason
  operator_failback,             // choice, by, reason
  operator_replicate_from_live,  // by
  operator_replicate_to_live,    // choice, by: failback from stood_down
  operator_cancel,               // by
  until_expired,                 // a suspension or stop has reached its end
  settings_changed,              // `configured`

  // after a start of the daemon, one of these before anything else
  restarted,      // the daemon was restarted, the host was not: a stand-in still runs
  host_rebooted,  // the host's boot id changed: nothing of ours runs
};
inline constexpr int event_kind_count = 33;

// What kind of failure a step met. It decides what `blocked` says.
enum class failure : std::uint8_t {
  other,           // anything else
  unreachable,     // the agent, or the witness, does not answer
  diverged,        // both sides hold data that the other lacks, and no choice was made
  copy_stale,      // the copy did not verify
  address_in_use,  // somebody else answers on the address
  hook_veto,       // the pre-hook exited with non-zero
  primary_alive,   // the primary was heard before it was fenced (an ARP answer from its MAC)
};

struct event {
  event_kind kind = event_kind::probe_ok;
  step_id which = step_id::none;
  failure failed_as = failure::other;
  bool stand_in_ran =
      false;  // step_failed(start_application): true unless it is certain that nothing was executed
  bool force = false;
  bool differ = false;
  std::uint32_t position = 0;
  std::uint64_t epoch = 0;
  right_owner owner = right_owner::primary;
  copy_phase replication = copy_phase::streaming;
  diverged_choice choice = diverged_choice::none;
  std::int64_t until_ms = 0;
  options configured{};
  std::string reason{};
  std::string by{};
};

inline event happened(event_kind kind, std::string reason = {}, std::string by = {}) {
  return {.kind = kind, .reason = std::move(reason), .by = std::move(by)};
}
inline event done(step_id which) {
  return {.kind = event_kind::step_done, .which = which};
}
inline event failed(step_id which, failure as, std::string reason, bool stand_in_ran = false) {
  return {.kind = event_kind::step_failed,
          .which = which,
          .failed_as = as,
          .stand_in_ran = stand_in_ran,
          .reason = std::move(reason)};
}
// `owner`: whose right it is by the agent's record.
inline event saw_epoch(std::uint64_t epoch, right_owner owner = right_owner::primary) {
  return {.kind = event_kind::agent_epoch, .epoch = epoch, .owner = owner};
}

const char* to_string(event_kind value);  // "probe_ok"
const char* to_string(failure value);     // "address_in_use"

}  // namespace understudy::policy
