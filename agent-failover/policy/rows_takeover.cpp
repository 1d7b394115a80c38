// From the moment this host has the right until the stand-in serves, and the ways back before it ran.

#include "agent-failover/policy/effects.hpp"

namespace understudy::policy {
namespace {
using P = phase;
using S = step_id;
using E = event_kind;
using G = guard;
using F = effect;

row next_step(step_id from, step_id to, const char* comment) {
  return go(at(P::taking_over, from), E::step_done, {}, {P::taking_over, to}, {}, comment);
}

void add_progress_rows(std::vector<row>& rows) {
  rows.insert(
      rows.end(),
      {
          next_step(S::stop_primary, S::drain_primary, "the primary's application is down and kept down"),
          go(at(P::taking_over, S::drain_primary), E::step_done, {}, {P::taking_over, S::freeze_apply},
             {F::freeze}, "everything it committed is in the copy"),
          next_step(S::freeze_apply, S::verify_copy, "the copy no longer changes"),
          next_step(S::verify_copy, S::pre_hook, "the copy is whole"),
          next_step(S::pre_hook, S::fence, "the operator's hook agrees"),
          next_step(S::fence, S::address_probe, "the primary knows, or cannot be told and has no lease"),
          next_step(S::address_probe, S::add_address, "nobody uses the addresses"),
          next_step(S::add_address, S::start_application, "clients reach this host"),
          go(at(P::taking_over, S::start_application), E::step_done, {},
             {P::taking_over, S::application_check}, {F::served},
             "the stand-in runs: the copy is now newest"),
          next_step(S::application_check, S::announce, "it serves"),
          next_step(S::announce, S::post_hook, "neighbours know the new place of the addresses"),
          go(at(P::taking_over, S::post_hook), E::step_done, {}, {P::standing_in}, {F::arrived},
             "the takeover is complete"),
      });
}

void add_failure_rows(std::vector<row>& rows) {
  const place before_start = at(P::taking_over, S::stop_primary, S::drain_primary, S::freeze_apply,
                                S::verify_copy, S::pre_hook, S::fence, S::address_probe, S::add_address);
  const place route = at(P::taking_over, S::fence, S::address_probe, S::add_address);
  const place start = at(P::taking_over, S::start_application);
  const place check = at(P::taking_over, S::application_check);
  const place undoing = at(P::taking_over, S::return_address, S::return_right);
  rows.insert(
      rows.end(),
      {
          go(route, E::step_failed, {G::copy_newest, G::address_taken},
             {P::standing_down, S::stop_application}, {F::note_reason, F::tell_undone},
             "somebody else has the address: the stand-in would not be reached, the right stays here"),
          stay(route, E::step_failed, {G::copy_newest}, {F::note_reason, F::why_forced, F::retry_later},
               "the newest data is here and nowhere else: no route or no adapter yet ends no service"),
          stay(route, E::retry, {G::copy_newest}, {F::begin_again}, "again"),
          go(route, E::operator_stop_failover, {G::copy_newest}, {P::standing_down, S::stop_application},
             {F::cancel_running, F::why_forced, F::tell_state},
             "Stop Failover Server: not waited for any more"),
          go(before_start, E::step_failed, {G::copy_newest}, {P::standing_down, S::stop_application},
             {F::note_reason, F::tell_undone}, "the copy holds the newest data: the right stays here"),
          go(before_start, E::step_failed, {}, {P::taking_over, S::return_address},
             {F::note_failure, F::tell_undone},
             "no stand-in ran: everything is undone and the primary gets its right back"),
          go(start, E::step_failed, {G::stand_in_ran}, {P::standing_down, S::stop_application},
             {F::may_have_run, F::note_reason, F::tell_undone},
             "it may have written: the copy counts as newest, and is not given up"),
          go(start, E::step_failed, {G::copy_newest}, {P::standing_down, S::stop_application},
             {F::note_reason, F::tell_undone}, "an earlier stand-in wrote: the right stays here"),
          go(start, E::step_failed, {}, {P::taking_over, S::return_address},
             {F::note_failure, F::tell_undone}, "nothing was executed: everything is undone"),
          go(check, E::step_failed, {G::planned}, {P::standing_down, S::stop_application},
             {F::note_reason, F::tell_undone}, "the primary is well: a switchover goes back to it"),
          go(check, E::step_failed, {}, {P::taking_over, S::announce}, {F::note_reason, F::tell_impaired},
             "the primary is not there: a doubtful stand-in is better than none"),
          go(at(P::taking_over, S::announce), E::step_failed, {}, {P::taking_over, S::post_hook},
             {F::note_reason, F::tell_impaired}, "announcements are repeated by the holder of the address"),
          go(at(P::taking_over, S::post_hook), E::step_failed, {}, {P::standing_in},
             {F::note_reason, F::arrived, F::tell_impaired}, "the stand-in serves all the same"),

          go(at(P::taking_over, S::return_address), E::step_done, {}, {P::taking_over, S::return_right},
             {F::give_right}, "the addresses are free: epoch + 1, owner = primary"),
          go(at(P::taking_over, S::return_right), E::step_done, {G::planned},
             {P::failing_back, S::start_primary}, {F::free_slot, F::why_done},
             "a switchover that did not happen: the primary's application is started again"),
          go(at(P::taking_over, S::return_right), E::step_done, {G::obstacle_noted}, {P::blocked},
             {F::free_slot, F::start_all, F::why_done, F::retry_later}, "still failed, and not taken over"),
          go(at(P::taking_over, S::return_right), E::step_done, {}, {P::monitoring},
             {F::reset_count, F::free_slot, F::start_all, F::why_done}, "counting begins anew"),
          stay(undoing, E::step_failed, {}, {F::note_reason, F::retry_later},
               "undoing is tried until it works"),
          stay(undoing, E::retry, {}, {F::begin_again}, "again"),
      });
}

void add_interruption_rows(std::vector<row>& rows) {
  const place before_fence =
      at(P::taking_over, S::stop_primary, S::drain_primary, S::freeze_apply, S::verify_copy, S::pre_hook);
  const place fencing = at(P::taking_over, S::fence, S::address_probe, S::add_address);
  const place serving = at(P::taking_over, S::application_check, S::announce, S::post_hook);
  const place start = at(P::taking_over, S::start_application);
  const place undoing = at(P::taking_over, S::return_address, S::return_right);
  rows.insert(
      rows.end(),
      {
          go(before_fence, E::probe_ok, {G::automatic}, {P::taking_over, S::return_address},
             {F::cancel_running, F::heard, F::unblock, F::tell_undone},
             "the primary lives and was not fenced: an automatic takeover is withdrawn"),
          go(before_fence, E::operator_cancel, {G::copy_newest}, {P::standing_down, S::stop_application},
             {F::cancel_running, F::tell_undone}, "back to StoodDown"),
          go(before_fence, E::operator_cancel, {}, {P::taking_over, S::return_address},
             {F::cancel_running, F::unblock, F::tell_undone}, "before the fence a takeover can be cancelled"),

          stay(before_fence, E::restarted, {G::copy_newest}, {F::begin_again, F::settle_again},
               "the copy is newest: the intent stands"),
          go(before_fence, E::restarted, {G::automatic}, {P::taking_over, S::return_address},
             {F::unblock, F::tell_undone, F::settle_again},
             "the primary may be well again: an automatic takeover is undone, counting begins anew"),
          stay(before_fence, E::restarted, {}, {F::begin_again, F::settle_again},
               "an operator asked for it: the last open intent is resumed"),
          stay(before_fence, E::host_rebooted, {G::copy_newest},
               {F::rebooted, F::begin_again, F::settle_again}, "the copy is newest: the intent stands"),
          go(before_fence, E::host_rebooted, {}, {P::taking_over, S::return_address},
             {F::rebooted, F::unblock, F::settle_again},
             "the primary may be well again: everything is undone, the higher count applies"),
          go(fencing, E::restarted, {G::copy_newest}, {P::taking_over, S::fence}, {F::settle_again},
             "the copy is newest: resumed at the fence"),
          go(fencing, E::restarted, {G::automatic}, {P::taking_over, S::return_address},
             {F::unblock, F::tell_undone, F::settle_again},
             "the primary may be well again, and written: an automatic takeover is undone, counting begins "
             "anew"),
          go(fencing, E::restarted, {}, {P::taking_over, S::fence}, {F::settle_again},
             "an operator asked for it: resumed at the fence, the primary may have started meanwhile"),
          go(fencing, E::host_rebooted, {G::copy_newest}, {P::taking_over, S::fence},
             {F::rebooted, F::why_forced, F::settle_again}, "the copy is newest: resumed at the fence"),
          go(fencing, E::host_rebooted, {}, {P::taking_over, S::return_address},
             {F::rebooted, F::unblock, F::settle_again},
             "the primary may be well again, and written: everything is undone, the higher count applies"),
          go(serving, E::restarted, {}, {P::taking_over, S::fence}, {F::settle_again},
             "resumed at the fence: the primary may have started meanwhile"),
          go(serving, E::host_rebooted, {}, {P::taking_over, S::fence},
             {F::rebooted, F::why_forced, F::settle_again},
             "resumed at the fence: the primary may have started meanwhile; what it wrote is kept"),
          go(start, E::restarted, {}, {P::taking_over, S::fence}, {F::may_have_run, F::settle_again},
             "the application may have been started before the restart: the right is not given up any more"),
          go(start, E::host_rebooted, {}, {P::taking_over, S::fence},
             {F::rebooted, F::may_have_run, F::why_forced, F::settle_again},
             "the application may have been started before the reboot: the right is not given up any more"),
          stay(undoing, E::restarted, {}, {F::begin_again, F::settle_again},
               "the last open intent is resumed"),
          stay(undoing, E::host_rebooted, {}, {F::rebooted, F::begin_again, F::settle_again},
               "the last open intent is resumed"),

          go(in(P::standing_in, P::conflict), E::restarted, {}, {P::taking_over, S::fence}, {F::settle_again},
             "the stand-in still runs; every step from the fence on is made sure of"),
          go(in(P::standing_in, P::conflict), E::host_rebooted, {}, {P::taking_over, S::fence},
             {F::rebooted, F::settle_again},
             "the primary is fenced again before the stand-in is started again"),
          go(in(P::standing_in), E::conflict, {}, {P::conflict, S::fence_again},
             {F::note_reason, F::tell_conflict}, "both serve: the primary is fenced again at once"),
          go(at(P::conflict, S::fence_again), E::step_done, {}, {P::standing_in}, {},
             "the primary is down again; what it wrote is kept and found at failback"),
          stay(at(P::conflict, S::fence_again), E::step_failed, {}, {F::note_reason, F::retry_later},
               "tried until it works"),
          stay(in(P::conflict), E::retry, {}, {F::begin_again}, "again"),
      });
}

}  // namespace

void add_takeover_rows(std::vector<row>& rows) {
  add_progress_rows(rows);
  add_failure_rows(rows);
  add_interruption_rows(rows);
}

}  // namespace understudy::policy
