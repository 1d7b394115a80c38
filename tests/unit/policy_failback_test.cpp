#include <gtest/gtest.h>

#include "tests/unit/policy_testing.hpp"

namespace understudy::policy {
namespace {

using S = step_id;

event failback(diverged_choice choice = diverged_choice::none,
               event_kind kind = event_kind::operator_failback) {
  return {.kind = kind, .choice = choice};
}

TEST(policy_failback, guided_goes_through_its_steps_in_order) {
  driven_primary p;
  p.taken_over().on(failback());
  for (const S each : {S::reverse_heal, S::stop_stand_in, S::drain, S::set_aside, S::verify_equal}) {
    ASSERT_EQ(p.state.doing, each) << p.name();
    EXPECT_EQ(p.state.owner, right_owner::failover_host);
    p.on(done(each));
  }
  EXPECT_EQ(p.state.doing, S::hand_over);
  EXPECT_EQ(p.state.owner, right_owner::primary);
  EXPECT_EQ(p.state.epoch, 3u);
  p.on(done(S::hand_over));
  EXPECT_EQ(p.state.doing, S::release_address);
  EXPECT_FALSE(may_grant(p.state)) << "the addresses are still here";
  p.on(done(S::release_address));
  EXPECT_EQ(p.name(), "FailingBack(start_application)");
  EXPECT_TRUE(may_grant(p.state));
  EXPECT_TRUE(p.asks(action_kind::release_slot));
  p.on(done(S::start_primary));
  EXPECT_EQ(p.name(), "Monitoring");
  EXPECT_TRUE(p.asks(action_kind::start_sync));
  EXPECT_FALSE(p.state.copy_newest);
  EXPECT_FALSE(p.state.flapping) << "an operator decided";
}

TEST(policy_failback, the_classic_way_stop_failover_then_replicate_to_live) {
  driven_primary p;
  p.taken_over().on(event_kind::operator_stop_failover);
  for (const S each : {S::stop_application, S::fold_copy, S::give_up_address}) {
    ASSERT_EQ(p.state.doing, each);
    p.on(done(each));
  }
  EXPECT_EQ(p.name(), "StoodDown");
  EXPECT_FALSE(may_grant(p.state)) << "the copy is newest";
  EXPECT_TRUE(p.on(event_kind::operator_replicate_from_live).ignored) << "it would overwrite the newest data";
  p.on(failback(diverged_choice::none, event_kind::operator_replicate_to_live));
  for (const S each :
       {S::reverse_heal, S::set_aside, S::verify_equal, S::hand_over, S::release_address, S::start_primary}) {
    ASSERT_EQ(p.state.doing, each) << "without the serving steps";
    p.on(done(each));
  }
  EXPECT_EQ(p.name(), "Monitoring");
}

TEST(policy_failback, the_stand_in_can_be_wanted_back) {
  driven_primary p;
  p.taken_over().on(event_kind::operator_stop_failover).work();
  EXPECT_TRUE(p.on(event_kind::operator_failover).asks(action_kind::request_slot));
  EXPECT_EQ(p.on(event_kind::slot_granted).name(), "TakingOver(freeze_apply)");
  EXPECT_EQ(p.state.epoch, 2u) << "the right did not change hands";
  p.work(S::verify_copy).on(failed(S::verify_copy, failure::other, "x")).work();
  EXPECT_EQ(p.name(), "StoodDown") << "the newest data is not given up";
  p.on(event_kind::operator_failover).on(event_kind::slot_granted).work();
  EXPECT_EQ(p.name(), "StandingIn");
}

TEST(policy_failback, both_written_and_no_choice_stops_and_names_both_flags) {
  driven_primary serving;
  serving.taken_over().on(failback()).work(S::set_aside);
  serving.on(failed(S::set_aside, failure::diverged, "ctserver")).work();
  EXPECT_EQ(serving.name(), "StandingIn");
  driven_primary stood;
  stood.taken_over().on(event_kind::operator_stop_failover).work().on(failback()).work(S::set_aside);
  stood.on(failed(S::set_aside, failure::diverged, "ctserver"));
  EXPECT_EQ(stood.name(), "StoodDown");
  EXPECT_TRUE(stood.tells(notice::failback_failed));
  for (const std::string& reason : {serving.state.reason, stood.state.reason}) {
    EXPECT_NE(reason.find("--discard-primary"), std::string::npos) << reason;
    EXPECT_NE(reason.find("--keep-primary"), std::string::npos) << reason;
  }
}

TEST(policy_failback, failures_return_to_the_stand_in) {
  driven_primary early;
  early.taken_over().on(failback()).on(failed(S::reverse_heal, failure::unreachable, "x"));
  EXPECT_EQ(early.name(), "StandingIn") << "it never stopped serving";
  for (const S each : {S::stop_stand_in, S::drain, S::set_aside, S::verify_equal}) {
    driven_primary p;
    p.taken_over().on(failback()).work(each).on(failed(each, failure::other, "x"));
    EXPECT_EQ(p.name(), "TakingOver(fence)");
    EXPECT_EQ(p.work().name(), "StandingIn");
    EXPECT_EQ(p.state.epoch, 2u);
  }
}

TEST(policy_failback, after_the_hand_over_only_forward) {
  for (const S each : {S::hand_over, S::release_address, S::start_primary}) {
    driven_primary p;
    p.taken_over().on(failback()).work(each).on(failed(each, failure::unreachable, "x"));
    EXPECT_EQ(p.state.doing, each);
    EXPECT_TRUE(p.asks(action_kind::schedule_retry));
    EXPECT_TRUE(p.on(event_kind::retry).starts(each));
    EXPECT_TRUE(p.on(event_kind::restarted).starts(each));
    EXPECT_EQ(p.work().name(), "Monitoring");
  }
}

TEST(policy_failback, a_primary_that_dies_before_its_application_ran_is_taken_over_again) {
  driven_primary p;
  p.taken_over().on(failback()).work(S::start_primary).miss(14);
  EXPECT_EQ(p.name(), "FailingBack(start_application)");
  EXPECT_EQ(p.miss(1).name(), "Claiming");
  EXPECT_EQ(driven_primary(p).on(event_kind::probe_ok).name(), "FailingBack(start_application)");
  EXPECT_EQ(p.on(event_kind::slot_granted).work().name(), "StandingIn");
}

TEST(policy_failback, keep_primary_sends_nothing_and_ends_without_a_copy) {
  driven_primary p;
  p.taken_over().on(failback(diverged_choice::keep_primary));
  for (const S each : {S::stop_stand_in, S::set_aside, S::hand_over, S::release_address, S::start_primary}) {
    ASSERT_EQ(p.state.doing, each);
    p.on(done(each));
  }
  EXPECT_EQ(p.name(), "Monitoring");
  EXPECT_FALSE(p.state.replication.has_copy);
  EXPECT_EQ(p.state.replication.at, copy_phase::unprotected);
}

TEST(policy_failback, auto_stop_only_without_assumed_address_and_with_a_choice) {
  for (const bool assume_ip : {false, true}) {
    for (const bool auto_stop : {false, true}) {
      for (const auto choice : {diverged_choice::none, diverged_choice::discard_primary}) {
        driven_primary p;
        p.state.configured.assume_ip = assume_ip;
        p.state.configured.auto_stop = auto_stop;
        p.state.configured.auto_stop_choice = choice;
        p.taken_over().on(event_kind::primary_back);
        const bool allowed = auto_stop && !assume_ip && choice != diverged_choice::none;
        EXPECT_EQ(p.state.at, allowed ? phase::failing_back : phase::standing_in);
        if (!allowed) continue;
        EXPECT_EQ(p.state.choice, choice);
        p.work();
        EXPECT_TRUE(p.state.flapping) << "handed back by itself";
        EXPECT_TRUE(p.asks(action_kind::start_settle_timer));
        EXPECT_EQ(p.miss(15).name(), "Blocked(flapping)");
        EXPECT_EQ(p.on(event_kind::settled).on(event_kind::retry).name(), "Claiming");
      }
    }
  }
}

TEST(policy_failback, a_failed_one_by_itself_is_not_tried_again_at_once) {
  driven_primary ready;
  ready.state.configured.auto_stop = true;
  ready.state.configured.auto_stop_choice = diverged_choice::discard_primary;
  ready.taken_over().on(event_kind::primary_back);
  for (const S each : {S::reverse_heal, S::stop_stand_in, S::drain, S::set_aside, S::verify_equal}) {
    driven_primary p = ready;
    p.work(each).on(failed(each, failure::unreachable, "x"));
    EXPECT_TRUE(p.asks(action_kind::start_settle_timer));
    p.work();
    EXPECT_EQ(p.on(event_kind::primary_back).name(), "StandingIn");
    EXPECT_TRUE(p.on(event_kind::restarted).asks(action_kind::start_settle_timer)) << "the timer died";
    p.work();
    EXPECT_EQ(p.on(event_kind::primary_back).name(), "StandingIn");
    driven_primary by_hand = p;
    by_hand.on(failback()).work();
    EXPECT_EQ(by_hand.name(), "Monitoring");
    EXPECT_FALSE(by_hand.state.flapping) << "an operator decided";
    EXPECT_EQ(p.on(event_kind::settled).on(event_kind::primary_back).name(), "FailingBack(reverse_heal)");
  }
  driven_primary cancelled = ready;
  cancelled.on(event_kind::operator_cancel).on(event_kind::primary_back);
  EXPECT_EQ(cancelled.name(), "StandingIn") << "an operator decided";
}

TEST(policy_failback, cancel_while_healing_keeps_serving) {
  driven_primary p;
  p.taken_over().on(failback()).on(event_kind::operator_cancel);
  EXPECT_EQ(p.name(), "StandingIn");
  EXPECT_TRUE(p.asks(action_kind::cancel_step));
}

TEST(policy_failback, never_monitoring_after_a_restart_while_a_stand_in_may_run) {
  driven_primary p;
  p.taken_over();
  for (const event_kind start : {event_kind::restarted, event_kind::host_rebooted}) {
    driven_primary standing = p;
    EXPECT_EQ(standing.on(start).state.at, phase::taking_over);
    for (const S each : {S::reverse_heal, S::stop_stand_in, S::drain, S::set_aside, S::verify_equal}) {
      driven_primary back = p;
      back.on(failback()).work(each).on(start);
      EXPECT_TRUE(back.state.at == phase::failing_back || back.state.at == phase::taking_over);
    }
  }
}

TEST(policy_failback, a_failed_daily_copy_rolls_back) {
  driven_primary p;
  p.on(event_kind::copy_started).on(happened(event_kind::copy_failed, "disk full"));
  EXPECT_TRUE(p.tells(notice::replication_failed));
  EXPECT_TRUE(p.tells(notice::rolled_back));
  EXPECT_TRUE(p.state.replication.has_copy);
  driven_primary first;
  first.state.replication = {};
  first.on(event_kind::copy_started).on(happened(event_kind::copy_failed, "disk full"));
  EXPECT_FALSE(first.tells(notice::rolled_back));
  EXPECT_EQ(first.state.replication.at, copy_phase::unprotected);
}

}  // namespace
}  // namespace understudy::policy
