// From a serving or stopped stand-in back to the primary.

#include "agent-failover/policy/effects.hpp"

namespace understudy::policy {
namespace {
using P = phase;
using S = step_id;
using E = event_kind;
using G = guard;
using F = effect;

row next_step(step_id from, step_id to, const char* comment) {
  return go(at(P::failing_back, from), E::step_done, {}, {P::failing_back, to}, {}, comment);
}

void add_stand_down_rows(std::vector<row>& rows) {
  rows.insert(
      rows.end(),
      {
          go(in(P::standing_in, P::conflict), E::operator_stop_failover, {},
             {P::standing_down, S::stop_application}, {F::cancel_running, F::why_forced, F::tell_state},
             "Stop Failover Server"),
          go(at(P::standing_down, S::stop_application), E::step_done, {}, {P::standing_down, S::fold_copy},
             {}, "no stand-in runs"),
          go(at(P::standing_down, S::fold_copy), E::step_done, {}, {P::standing_down, S::give_up_address}, {},
             "the copy is one file, and nobody has it open"),
          go(at(P::standing_down, S::give_up_address), E::step_done, {G::planned},
             {P::failing_back, S::reverse_heal}, {F::free_slot, F::not_serving, F::why_forced},
             "a switchover that failed gives the service back by itself"),
          go(at(P::standing_down, S::give_up_address), E::step_done, {}, {P::stood_down},
             {F::free_slot, F::why_done, F::tell_stood_down}, "the copy is newest; the primary is held down"),
          stay(in(P::standing_down), E::step_failed, {}, {F::note_reason, F::retry_later},
               "tried until it works"),
          stay(in(P::standing_down), E::retry, {}, {F::begin_again}, "again"),
          stay(in(P::standing_down), E::restarted, {}, {F::begin_again, F::settle_again},
               "the last open intent is resumed"),
          stay(in(P::standing_down), E::host_rebooted, {}, {F::rebooted, F::begin_again, F::settle_again},
               "the last open intent is resumed"),

          stay(in(P::stood_down), E::operator_failover, {}, {F::want_resume, F::ask_slot, F::tell_state},
               "the stand-in is wanted back, once the place is free"),
          go(in(P::stood_down), E::slot_granted, {G::resume_asked}, {P::taking_over, S::freeze_apply},
             {F::got_slot, F::no_resume, F::why_forced, F::clear_reason},
             "the stand-in resumes on the newest data"),
          stay(in(P::stood_down), E::slot_denied, {}, {F::note_reason, F::no_resume, F::free_slot},
               "the place is taken"),
          stay(in(P::stood_down), E::operator_cancel, {}, {F::no_resume, F::free_slot},
               "not wanted any more"),
          stay(in(P::stood_down), E::restarted, {}, {F::no_resume, F::free_slot, F::settle_again},
               "StoodDown survives"),
          stay(in(P::stood_down), E::host_rebooted, {},
               {F::rebooted, F::no_resume, F::free_slot, F::settle_again}, "StoodDown survives"),
      });
}

void add_begin_rows(std::vector<row>& rows) {
  const std::vector<effect> by_hand = {F::choose,     F::settle_over,  F::serving,
                                       F::why_forced, F::clear_reason, F::tell_state};
  // A primary that uses a shared address conflicts as long as it is up: what ends that is the failback.
  const std::vector<effect> by_hand_in_conflict = {F::cancel_running, F::choose,     F::settle_over,
                                                   F::serving,        F::why_forced, F::clear_reason,
                                                   F::tell_state};
  const std::vector<effect> by_itself = {F::choose_stored, F::serving, F::why_automatic, F::clear_reason,
                                         F::tell_state};
  const std::vector<effect> stood = {F::choose,    F::settle_over, F::not_serving,  F::why_forced,
                                     F::no_resume, F::free_slot,   F::clear_reason, F::tell_state};
  rows.insert(
      rows.end(),
      {
          go(in(P::standing_in), E::operator_failback, {G::keep_primary}, {P::failing_back, S::stop_stand_in},
             by_hand, "the primary's data wins: nothing is sent to it"),
          go(in(P::standing_in), E::operator_failback, {}, {P::failing_back, S::reverse_heal}, by_hand,
             "guided failback: healed while the stand-in still serves"),
          go(in(P::conflict), E::operator_failback, {G::keep_primary}, {P::failing_back, S::stop_stand_in},
             by_hand_in_conflict,
             "the primary's data wins; the step fences it before the stand-in is stopped"),
          go(in(P::conflict), E::operator_failback, {}, {P::failing_back, S::reverse_heal},
             by_hand_in_conflict, "guided failback; its first step fences the primary, as is being done"),
          go(in(P::standing_in), E::primary_back,
             {G::auto_stop_on, G::no_assumed_ip, G::choice_stored, G::settled, G::keep_primary},
             {P::failing_back, S::stop_stand_in}, by_itself,
             "handed back by itself; the primary's data wins"),
          go(in(P::standing_in), E::primary_back,
             {G::auto_stop_on, G::no_assumed_ip, G::choice_stored, G::settled},
             {P::failing_back, S::reverse_heal}, by_itself, "handed back by itself"),
          go(in(P::stood_down), E::operator_failback, {G::keep_primary}, {P::failing_back, S::set_aside},
             stood, "the primary's data wins: the copy is set aside"),
          go(in(P::stood_down), E::operator_failback, {}, {P::failing_back, S::reverse_heal}, stood,
             "as Replicate to Live"),
          go(in(P::stood_down), E::operator_replicate_to_live, {G::keep_primary},
             {P::failing_back, S::set_aside}, stood, "the primary's data wins: the copy is set aside"),
          go(in(P::stood_down), E::operator_replicate_to_live, {}, {P::failing_back, S::reverse_heal}, stood,
             "Replicate to Live"),
      });
}

void add_step_rows(std::vector<row>& rows) {
  rows.insert(
      rows.end(),
      {
          go(at(P::failing_back, S::reverse_heal), E::step_done, {G::was_serving},
             {P::failing_back, S::stop_stand_in}, {}, "nearly equal: the downtime begins"),
          next_step(S::reverse_heal, S::set_aside, "equal already: no stand-in writes"),
          go(at(P::failing_back, S::stop_stand_in), E::step_done, {G::keep_primary},
             {P::failing_back, S::set_aside}, {}, "nothing of the stand-in's goes to the primary"),
          next_step(S::stop_stand_in, S::drain, "what it committed last"),
          next_step(S::drain, S::set_aside, "all of it is at the primary, beside its own data"),
          go(at(P::failing_back, S::set_aside), E::step_done, {G::keep_primary},
             {P::failing_back, S::hand_over}, {F::give_right, F::lose_copy},
             "the copy is kept aside; the primary keeps its data, epoch + 1"),
          next_step(S::set_aside, S::verify_equal,
                    "the primary's own data is kept aside, the new one in place"),
          go(at(P::failing_back, S::verify_equal), E::step_done, {}, {P::failing_back, S::hand_over},
             {F::give_right}, "both sides state the same hashes: epoch + 1, owner = primary"),
          next_step(S::hand_over, S::release_address, "recorded; no way back to the stand-in from here"),
          go(at(P::failing_back, S::release_address), E::step_done, {}, {P::failing_back, S::start_primary},
             {F::free_slot}, "the addresses are free for the primary"),
          go(at(P::failing_back, S::start_primary), E::step_done, {}, {P::monitoring},
             {F::came_home, F::settle, F::start_all, F::why_done}, "the primary serves again"),
      });
}

void add_failure_rows(std::vector<row>& rows) {
  const place heal = at(P::failing_back, S::reverse_heal);
  const place middle = at(P::failing_back, S::stop_stand_in, S::drain, S::set_aside, S::verify_equal);
  const place late = at(P::failing_back, S::hand_over, S::release_address, S::start_primary);
  const place start = at(P::failing_back, S::start_primary);
  rows.insert(
      rows.end(),
      {
          go(heal, E::step_failed, {G::was_serving}, {P::standing_in},
             {F::note_reason, F::back_off, F::why_done, F::tell_failback_failed},
             "the stand-in never stopped serving"),
          go(heal, E::step_failed, {}, {P::stood_down},
             {F::note_reason, F::why_done, F::tell_failback_failed}, "the primary's data is untouched"),
          go(middle, E::step_failed, {G::was_serving}, {P::taking_over, S::fence},
             {F::note_reason, F::back_off, F::tell_failback_failed},
             "the stand-in serves again; what the primary had is kept"),
          go(middle, E::step_failed, {}, {P::stood_down},
             {F::note_reason, F::why_done, F::tell_failback_failed},
             "the copy is still newest; what the primary had is kept"),
          stay(late, E::step_failed, {}, {F::note_reason, F::retry_later},
               "only forward: tried until it works"),
          stay(late, E::retry, {}, {F::begin_again}, "again"),
          go(heal, E::operator_cancel, {G::was_serving}, {P::standing_in},
             {F::cancel_running, F::back_off, F::why_done, F::tell_state},
             "the stand-in never stopped serving"),
          go(heal, E::operator_cancel, {}, {P::stood_down}, {F::cancel_running, F::why_done, F::tell_state},
             "the primary's data is untouched"),

          stay(start, E::probe_ok, {}, {F::heard}, "it answers; its application is being started"),
          stay(start, E::probe_failed, {G::host_blind}, {},
               "this host sees nothing: the miss proves nothing"),
          go(start, E::probe_failed,
             {G::takeover_due, G::has_copy, G::automation_on, G::versions_agree, G::settled}, {P::claiming},
             {F::cancel_running, F::count_miss, F::why_automatic, F::ask_slot, F::tell_failure},
             "the primary died again before its application ran"),
          go(start, E::probe_failed, {G::takeover_due}, {P::blocked},
             {F::cancel_running, F::count_miss, F::why_done, F::name_obstacle, F::start_all, F::retry_later},
             "it died again, and something forbids an automatic takeover"),
          stay(start, E::probe_failed, {}, {F::count_miss}, "a miss"),

          go(heal, E::host_rebooted, {G::was_serving}, {P::taking_over, S::fence},
             {F::rebooted, F::why_forced, F::settle_again}, "the stand-in died with the host: service first"),
          stay(in(P::failing_back), E::restarted, {}, {F::reset_count, F::begin_again, F::settle_again},
               "the last open intent is resumed"),
          stay(in(P::failing_back), E::host_rebooted, {},
               {F::rebooted, F::reset_count, F::begin_again, F::settle_again},
               "the last open intent is resumed"),
      });
}

}  // namespace

void add_failback_rows(std::vector<row>& rows) {
  add_stand_down_rows(rows);
  add_begin_rows(rows);
  add_step_rows(rows);
  add_failure_rows(rows);
}

void add_common_rows(std::vector<row>& rows) {
  const place anywhere = {(1u << phase_count) - 1, 0};
  const place copying =
      in(P::monitoring, P::suspect, P::warned, P::blind, P::suspended, P::claiming, P::blocked);
  rows.insert(
      rows.end(),
      {
          stay(anywhere, E::host_blind, {}, {F::note_blind}, "remembered for when it matters"),
          stay(anywhere, E::host_sees, {}, {F::note_sight}, "remembered for when it matters"),
          stay(anywhere, E::agent_reset, {}, {F::tell_reset}, "the primary was reset: mail"),
          stay(anywhere, E::agent_epoch, {}, {F::note_epoch},
               "an agent ahead of this host's record would refuse every order as older: the epoch follows"),
          stay(in(P::monitoring, P::suspect, P::warned, P::blind, P::suspended, P::stopped, P::stood_down),
               E::slot_granted, {}, {F::free_slot}, "a grant that crossed with our withdrawal goes back"),
          stay(anywhere, E::settled, {}, {F::settle_over}, "automatic takeover is allowed again"),
          stay(copying, E::copy_started, {}, {F::note_copying},
               "the verified generation, if any, stays in use"),
          stay(copying, E::copy_done, {}, {F::note_copied}, "the new generation is verified and in use"),
          stay(copying, E::copy_failed, {}, {F::note_copy_failed},
               "the previous generation stays in use: mail"),
          stay(copying, E::replication_changed, {}, {F::note_replication}, "in step, behind, or cut"),
          stay(in(P::monitoring, P::suspect, P::warned, P::suspended), E::operator_replicate_from_live, {},
               {F::begin_copy}, "Replicate from Live; refused wherever the copy is the newest data"),
          stay(anywhere, E::versions_compared, {G::first_difference}, {F::note_versions, F::tell_versions},
               "the application's version is another one here: mail"),
          stay(anywhere, E::versions_compared, {}, {F::note_versions}, "as before, or equal again"),
          stay(anywhere, E::settings_changed, {}, {F::note_settings}, "in force at once"),
      });
}

}  // namespace understudy::policy
