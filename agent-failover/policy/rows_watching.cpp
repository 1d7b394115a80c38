// While the primary has the right: monitoring, suspicion, suspension, and the way to a claim.

#include "agent-failover/policy/effects.hpp"

namespace understudy::policy {
namespace {
using P = phase;
using S = step_id;
using E = event_kind;
using G = guard;
using F = effect;

void add_probe_rows(std::vector<row>& rows) {
  const place watching = in(P::monitoring, P::suspect, P::warned);
  const std::vector<guard> due = {G::takeover_due, G::has_copy, G::automation_on, G::versions_agree,
                                  G::settled};
  rows.insert(
      rows.end(),
      {
          go(watching, E::probe_ok, {G::start_owed}, {P::failing_back, S::start_primary},
             {F::heard, F::withdraw},
             "the primary answers and its application still waits for the start we owe it"),
          go(watching, E::probe_ok, {}, {P::monitoring}, {F::heard, F::withdraw},
             "one reply ends the series of misses and takes a claim back"),
          stay(in(P::blind), E::probe_ok, {}, {F::heard, F::withdraw},
               "a reply counts also while misses do not"),
          go(in(P::blocked), E::probe_ok, {G::start_owed}, {P::failing_back, S::start_primary},
             {F::heard, F::withdraw, F::free_slot, F::unblock, F::why_done},
             "the primary answers; the undone takeover had stopped its application"),
          go(in(P::blocked), E::probe_ok, {}, {P::monitoring},
             {F::heard, F::withdraw, F::free_slot, F::unblock, F::why_done, F::tell_state},
             "the primary answers before it was taken over"),
          go(in(P::claiming), E::probe_ok, {G::automatic, G::start_owed}, {P::failing_back, S::start_primary},
             {F::cancel_running, F::heard, F::withdraw, F::free_slot, F::unblock, F::why_done},
             "the claim is withdrawn, and the owed start made good"),
          go(in(P::claiming), E::probe_ok, {G::automatic}, {P::monitoring},
             {F::cancel_running, F::heard, F::withdraw, F::free_slot, F::unblock, F::why_done, F::tell_state},
             "the primary answers: its claim is withdrawn; an operator's takeover goes on"),

          go(watching, E::probe_failed, {G::host_blind}, {P::blind}, {F::withdraw},
             "this host sees nothing: the miss proves nothing"),
          go(watching, E::probe_failed, due, {P::claiming},
             {F::count_miss, F::why_automatic, F::ask_slot, F::tell_failure},
             "the takeover count is reached: failure declared"),
          go(watching, E::probe_failed, {G::takeover_due}, {P::blocked},
             {F::count_miss, F::withdraw, F::name_obstacle, F::retry_later},
             "the takeover count is reached, and something forbids an automatic takeover"),
          go(in(P::monitoring, P::suspect), E::probe_failed, {G::warning_due}, {P::warned},
             {F::count_miss, F::claim_if_due, F::tell_warning}, "the warning count is reached: mail"),
          stay(in(P::warned), E::probe_failed, {}, {F::count_miss, F::claim_if_due}, "another miss"),
          go(in(P::monitoring, P::suspect), E::probe_failed, {}, {P::suspect},
             {F::count_miss, F::claim_if_due}, "a miss below the warning count"),

          go(in(P::monitoring, P::suspect, P::warned, P::claiming, P::blocked), E::host_blind, {}, {P::blind},
             {F::cancel_running, F::note_blind, F::note_reason, F::withdraw, F::free_slot, F::unblock,
              F::why_done, F::tell_blind},
             "an isolated host declares nobody failed and takes nobody over; misses are kept, not added to"),
          go(in(P::blind), E::host_sees, {G::was_warned}, {P::warned}, {F::note_sight, F::clear_reason},
             "counting goes on where it stood"),
          go(in(P::blind), E::host_sees, {G::missed_some}, {P::suspect}, {F::note_sight, F::clear_reason},
             "counting goes on where it stood"),
          go(in(P::blind), E::host_sees, {}, {P::monitoring}, {F::note_sight, F::clear_reason},
             "nothing was missed"),
      });
}

void add_pause_rows(std::vector<row>& rows) {
  const place running = in(P::monitoring, P::suspect, P::warned, P::blind, P::claiming, P::blocked);
  const place pausable =
      in(P::monitoring, P::suspect, P::warned, P::blind, P::claiming, P::blocked, P::suspended);
  rows.insert(rows.end(),
              {
                  go(running, E::operator_suspend, {}, {P::suspended},
                     {F::cancel_running, F::note_pause, F::reset_count, F::withdraw, F::free_slot, F::unblock,
                      F::why_done, F::clear_reason, F::stop_files, F::tell_state},
                     "no monitoring, file sync stopped, database sync goes on; a claim is withdrawn"),
                  stay(in(P::suspended), E::operator_suspend, {}, {F::note_pause, F::tell_state},
                       "another end, another reason"),
                  go(in(P::suspended), E::operator_resume, {}, {P::monitoring},
                     {F::clear_pause, F::start_files, F::tell_state}, "changed files are copied at once"),
                  go(in(P::suspended), E::until_expired, {}, {P::monitoring},
                     {F::clear_pause, F::start_files, F::tell_state}, "a suspension ends by itself"),
                  go(pausable, E::operator_stop, {}, {P::stopped},
                     {F::cancel_running, F::note_pause, F::reset_count, F::withdraw, F::free_slot, F::unblock,
                      F::why_done, F::clear_reason, F::stop_all, F::tell_state},
                     "no monitoring, both syncs stopped; a claim is withdrawn"),
                  stay(in(P::stopped), E::operator_stop, {}, {F::note_pause, F::tell_state},
                       "another end, another reason"),
                  go(in(P::stopped), E::operator_start, {}, {P::monitoring},
                     {F::clear_pause, F::start_all, F::tell_state}, "both syncs are healed"),
                  go(in(P::stopped), E::until_expired, {}, {P::monitoring},
                     {F::clear_pause, F::start_all, F::tell_state}, "a stop with an end ends by itself"),
              });
}

void add_claim_rows(std::vector<row>& rows) {
  const std::vector<guard> free = {G::has_copy, G::automation_on, G::versions_agree, G::settled};
  rows.insert(
      rows.end(),
      {
          go(in(P::monitoring, P::suspect, P::warned, P::blocked, P::suspended, P::stopped),
             E::operator_failover, {G::force_asked, G::has_copy}, {P::claiming},
             {F::clear_pause, F::unblock, F::why_operator, F::note_reason, F::ask_slot, F::tell_state},
             "by hand, without asking the primary"),
          go(in(P::monitoring, P::suspect, P::warned, P::blocked), E::operator_failover, {G::has_copy},
             {P::claiming}, {F::unblock, F::why_operator, F::note_reason, F::ask_slot, F::tell_state},
             "by hand: a switchover, which stops the primary first"),
          go(at(P::failing_back, S::start_primary), E::operator_failover, {G::force_asked, G::has_copy},
             {P::claiming},
             {F::cancel_running, F::unblock, F::why_operator, F::note_reason, F::ask_slot, F::tell_state},
             "the primary does not start: back to the stand-in by hand"),

          go(at(P::claiming, S::none), E::slot_granted, {}, {P::claiming, S::claim_right},
             {F::got_slot, F::mark_claim}, "the place is ours; now the right"),
          go(at(P::claiming, S::none), E::slot_denied, {}, {P::blocked},
             {F::note_reason, F::queue, F::block_busy, F::withdraw, F::tell_denied},
             "one at a time: alerted, queued, not taken over"),
          stay(in(P::blocked), E::slot_denied, {G::queued}, {F::note_reason, F::queue},
               "still queued: its turn is nearer, or another one has the place"),
          go(in(P::blocked), E::slot_granted,
             {G::queued, G::has_copy, G::automation_on, G::versions_agree, G::settled},
             {P::claiming, S::claim_right}, {F::got_slot, F::mark_claim}, "the place became free"),
          stay(in(P::blocked), E::slot_granted, {}, {F::free_slot, F::name_obstacle, F::retry_later},
               "not waited for any more, or something else forbids the takeover meanwhile: given back"),
          go(in(P::blocked), E::retry, free, {P::claiming}, {F::why_automatic, F::ask_slot},
             "still failed, and what forbade the takeover may have passed"),
          stay(in(P::blocked), E::retry, {}, {F::name_obstacle, F::retry_later}, "still forbidden"),

          go(at(P::claiming, S::claim_right), E::step_done, {G::planned}, {P::taking_over, S::stop_primary},
             {F::take_right}, "a switchover stops the primary first: nothing is lost"),
          go(at(P::claiming, S::claim_right), E::step_done, {}, {P::taking_over, S::freeze_apply},
             {F::take_right, F::freeze}, "no lease can be alive: the right is ours, epoch + 1"),
          go(at(P::claiming, S::claim_right), E::step_failed, {}, {P::blocked},
             {F::note_failure, F::withdraw, F::free_slot, F::retry_later},
             "the claim could not be recorded: an isolated host ends here"),
          go(in(P::claiming), E::operator_cancel, {}, {P::monitoring},
             {F::cancel_running, F::reset_count, F::withdraw, F::free_slot, F::unblock, F::why_done,
              F::clear_reason, F::tell_state},
             "nothing was done yet; counting begins anew"),
          go(in(P::blocked), E::operator_cancel, {}, {P::monitoring},
             {F::reset_count, F::withdraw, F::free_slot, F::unblock, F::why_done, F::clear_reason,
              F::tell_state},
             "out of the queue; counting begins anew"),
      });
}

void add_restart_rows(std::vector<row>& rows) {
  const place watching = in(P::monitoring, P::suspect, P::warned, P::blind);
  const place revocable = in(P::claiming, P::blocked);
  rows.insert(
      rows.end(),
      {
          go(watching, E::restarted, {}, {P::monitoring},
             {F::reset_count, F::note_sight, F::withdraw, F::clear_reason, F::start_all, F::settle_again},
             "misses before the restart prove nothing about now"),
          go(watching, E::host_rebooted, {}, {P::monitoring},
             {F::reset_count, F::rebooted, F::note_sight, F::withdraw, F::clear_reason, F::start_all,
              F::settle_again},
             "as after a restart, and with the higher count until the first reply"),
          go(revocable, E::restarted, {}, {P::monitoring},
             {F::reset_count, F::withdraw, F::free_slot, F::unblock, F::why_done, F::clear_reason,
              F::start_all, F::settle_again},
             "the primary may have come back meanwhile: the claim is withdrawn, counting begins anew"),
          go(revocable, E::host_rebooted, {}, {P::monitoring},
             {F::reset_count, F::rebooted, F::withdraw, F::free_slot, F::unblock, F::why_done,
              F::clear_reason, F::start_all, F::settle_again},
             "the primary may have come back meanwhile: the claim is withdrawn, counting begins anew"),
          stay(in(P::suspended), E::restarted, {}, {F::note_sight, F::start_databases, F::settle_again},
               "a suspension survives"),
          stay(in(P::suspended), E::host_rebooted, {},
               {F::rebooted, F::note_sight, F::start_databases, F::settle_again}, "a suspension survives"),
          stay(in(P::stopped), E::restarted, {}, {F::note_sight, F::settle_again}, "a stop survives"),
          stay(in(P::stopped), E::host_rebooted, {}, {F::rebooted, F::note_sight, F::settle_again},
               "a stop survives"),
      });
}

}  // namespace

void add_watching_rows(std::vector<row>& rows) {
  add_probe_rows(rows);
  add_pause_rows(rows);
  add_claim_rows(rows);
  add_restart_rows(rows);
}

}  // namespace understudy::policy
