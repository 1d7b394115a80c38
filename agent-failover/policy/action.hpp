#pragma once

// What step() asks the actors to do, in order, once the new state is durable.

#include <cstdint>
#include <string>

#include "agent-failover/policy/state.hpp"

namespace understudy::policy {

enum class action_kind : std::uint8_t {
  start_step,          // begin `which`; answer with step_done or step_failed
  cancel_step,         // abandon the step that is running; its answer is not wanted
  request_slot,        // ask the arbiter for the one place; answered by slot_granted or slot_denied
  release_slot,        // give the place back, or leave the queue; to have neither is fine
  record_claim,        // stop renewing the lease and record a revocable claim at the witness; keep trying
  withdraw_claim,      // take that claim back; keep trying until it is gone
  start_sync,          // `part` is replicated again, beginning with a heal
  stop_sync,           // `part` is no longer replicated
  start_copy,          // one bulk copy of everything from the primary
  raise,               // event, log line and, where `mailed`, a mail: `notice`, `text`
  schedule_retry,      // send `retry` after a while
  start_settle_timer,  // send `settled` after the flapping period
};

enum class sync_part : std::uint8_t {
  databases,  // the databases
  files,      // the file trees
  both,       // both
};

// Stable names of what is told to people; the kind of an event in the history.
enum class notice : std::uint8_t {
  warning,             // the warning count was reached
  failure,             // a failure was declared
  takeover,            // the stand-in runs
  second_failure,      // another primary failed while this host stands in
  takeover_blocked,    // a failure is not taken over
  takeover_undone,     // a takeover was given up before a stand-in ran
  takeover_impaired,   // the stand-in runs, and something about it failed
  server_reset,        // the primary was reset
  conflict,            // both sides were found serving
  stood_down,          // the stand-in was stopped
  failback,            // the primary has the right again
  failback_failed,     // it was given up
  versions_differ,     // the application's versions differ
  replication_failed,  // a bulk copy failed
  rolled_back,         // and the previous generation stays in use
  copy_diverged,       // a copy read back otherwise than it was written, or the primary's file did
  log_grows,           // the log of a copy cannot be folded: a reader is in the way
  database_damaged,    // pages of the primary's file are not as they were committed; the copy keeps what was
  databases_left_out,  // databases that the agent found are not protected
  blind,               // this host is in doubt about itself
  state,               // an operator changed the state
};

struct action {
  action_kind kind = action_kind::raise;
  step_id which = step_id::none;
  sync_part part = sync_part::both;
  notice what = notice::state;
  std::string text{};
  friend bool operator==(const action&, const action&) = default;
};

bool mailed(notice what);  // the guide's mail events, and what an operator must not miss

const char* to_string(action_kind value);  // "start_step"
const char* to_string(notice value);       // "server_reset"

}  // namespace understudy::policy
