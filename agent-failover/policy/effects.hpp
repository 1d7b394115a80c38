#pragma once

// What rows do. An effect changes fields, asks for actions, or both; a row lists its effects in order.

#include <vector>

#include "agent-failover/policy/table.hpp"

namespace understudy::policy {

enum class effect : std::uint8_t {
  // detection
  count_miss,    // one more consecutive miss
  claim_if_due,  // leased modes: at the claim count stop renewing and record the revocable claim
  heard,         // forget misses and the reboot: there was a reply
  reset_count,   // forget misses: counting begins anew
  rebooted,      // the higher takeover count applies until the first reply
  note_blind,    // remember that this host sees nothing
  note_sight,    // remember that it sees
  // the right to run
  withdraw,    // take a recorded claim back
  mark_claim,  // the claim is being made: grant nothing any more
  take_right,  // epoch + 1, owner = this host, unless it is already
  give_right,  // epoch + 1, owner = the primary, whose application we owe a start
  note_epoch,  // an agent that is ahead (this host's state was lost): the next order to it is newer again
  // the one place
  ask_slot,   // request it
  got_slot,   // it is ours
  queue,      // it is not: remember the position
  free_slot,  // give it back, or leave the queue
  // why
  why_automatic,  // missed pings
  why_operator,   // switchover, or forced, as the operator said
  why_forced,     // an operator's command
  why_done,       // nothing is under way any more
  note_reason,    // keep the event's reason
  clear_reason,   // there is none any more
  note_failure,   // keep the failure as the reason for Blocked; told once per reason
  name_obstacle,  // Blocked says what keeps the takeover from being automatic; told once per reason
  block_busy,     // Blocked says that the place is taken
  unblock,        // nothing blocks
  // suspension
  note_pause,   // until, by whom, why
  clear_pause,  // it is over
  // replication
  stop_files,        // stop file sync
  start_files,       // start it again; changed files are copied at once
  stop_all,          // stop both syncs
  start_all,         // start both again, beginning with a heal
  start_databases,   // start database sync alone
  freeze,            // a stand-in is about to use the copy
  begin_copy,        // ask for a bulk copy
  note_copying,      // a bulk copy runs
  note_copied,       // it is verified and in use
  note_copy_failed,  // it failed: the previous generation, if any, stays
  note_replication,  // streaming, behind, cut
  lose_copy,         // keep_primary: the copy lost, it is set aside and no copy of the primary any more
  // takeover and failback
  may_have_run,   // perhaps a stand-in ran: the copy counts as newest
  served,         // a stand-in ran: the copy is the newest data
  arrived,        // the stand-in serves; told once
  came_home,      // the primary serves again
  choose,         // the operator's choice about diverged data
  choose_stored,  // the stored one
  serving,        // the failback begins with the stand-in serving
  not_serving,    // it does not
  want_resume,    // the stand-in is wanted back
  no_resume,      // it is not, or it is on its way
  settle,         // after a hand-back by itself: no automatic takeover for a while
  back_off,       // a failback failed or was cancelled: none by itself for a while
  settle_again,   // the daemon restarted meanwhile: wait anew
  settle_over,    // that while has passed
  // steps
  begin_again,     // begin the present step again
  cancel_running,  // abandon it
  retry_later,     // ask to be reminded
  // settings
  note_versions,  // the versions' comparison
  note_settings,  // the options
  // told to people
  tell_warning,
  tell_failure,
  tell_denied,  // second_failure for a failed primary, takeover_blocked for an operator's command
  tell_undone,
  tell_impaired,
  tell_reset,
  tell_conflict,
  tell_stood_down,
  tell_failback_failed,
  tell_versions,
  tell_blind,
  tell_state,
};

void apply(effect which, primary_state& state, const event& what, std::vector<action>& actions);

// Parts of the table, in this order; the first row that fits fires.
void add_watching_rows(std::vector<row>& rows);
void add_takeover_rows(std::vector<row>& rows);
void add_failback_rows(std::vector<row>& rows);
void add_common_rows(std::vector<row>& rows);

// Where a row applies: these phases, and of these steps (none given: any).
struct place {
  std::uint32_t phases = 0;
  std::uint64_t steps = 0;
};
template <class... Phases>
place in(Phases... phases) {
  return {((1u << static_cast<unsigned>(phases)) | ...), 0};
}
template <class... Steps>
place at(phase where, Steps... steps) {
  return {1u << static_cast<unsigned>(where), ((std::uint64_t{1} << static_cast<unsigned>(steps)) | ...)};
}
struct target {
  phase to;
  step_id next = step_id::none;
};
row go(place from, event_kind when, std::vector<guard> guards, target to, std::vector<effect> effects,
       const char* comment);
row stay(place from, event_kind when, std::vector<guard> guards, std::vector<effect> effects,
         const char* comment);

}  // namespace understudy::policy
