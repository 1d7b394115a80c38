#include <gtest/gtest.h>

#include "tests/unit/policy_testing.hpp"

namespace understudy::policy {
namespace {

using S = step_id;

TEST(policy_takeover, goes_through_its_steps_in_order_and_takes_the_right_first) {
  driven_primary p;
  p.miss(15).on(event_kind::slot_granted);
  EXPECT_EQ(p.name(), "Claiming(claim_right)");
  EXPECT_EQ(p.state.epoch, 1u);
  p.on(done(S::claim_right));
  EXPECT_EQ(p.state.epoch, 2u);
  EXPECT_EQ(p.state.owner, right_owner::failover_host);
  for (const S each :
       {S::freeze_apply, S::verify_copy, S::pre_hook, S::fence, S::address_probe, S::add_address,
        S::start_application, S::application_check, S::announce, S::post_hook}) {
    ASSERT_EQ(p.state.doing, each) << p.name();
    EXPECT_TRUE(p.starts(each));
    EXPECT_FALSE(may_grant(p.state));
    p.on(done(each));
    EXPECT_EQ(p.tells(notice::takeover), each == S::start_application);
  }
  EXPECT_EQ(p.name(), "StandingIn");
  EXPECT_TRUE(p.state.copy_newest);
  EXPECT_EQ(p.state.epoch, 2u);
}

TEST(policy_takeover, a_result_of_another_step_is_ignored) {
  driven_primary p;
  p.taking_over_until(S::fence);
  EXPECT_TRUE(p.on(done(S::pre_hook)).ignored);
  EXPECT_TRUE(p.on(failed(S::verify_copy, failure::other, "late")).ignored);
  EXPECT_EQ(p.name(), "TakingOver(fence)");
}

TEST(policy_takeover, without_a_copy_it_is_blocked_and_an_operator_is_refused) {
  driven_primary p;
  p.state.replication = {};
  p.miss(15);
  EXPECT_EQ(p.name(), "Blocked(no copy)");
  EXPECT_TRUE(p.tells(notice::takeover_blocked));
  event force = happened(event_kind::operator_failover);
  force.force = true;
  p.on(force);
  EXPECT_TRUE(p.ignored);
  EXPECT_NE(p.refusal.find("no verified copy"), std::string::npos) << p.refusal;
  EXPECT_EQ(p.refusal.find("--force"), std::string::npos) << "it would not help: " << p.refusal;
  p.on(event_kind::copy_done).on(event_kind::retry);
  EXPECT_EQ(p.name(), "Claiming");
}

TEST(policy_takeover, a_copy_in_progress_does_not_take_the_verified_one_away) {
  driven_primary p;
  p.on(event_kind::copy_started);
  EXPECT_EQ(p.state.replication.at, copy_phase::copying);
  p.miss(15);
  EXPECT_EQ(p.name(), "Claiming");
}

TEST(policy_takeover, what_forbids_automation_blocks_with_its_reason_once) {
  const auto blocked_by = [](auto prepare) {
    driven_primary p;
    prepare(p.state);
    p.miss(15);
    EXPECT_TRUE(p.tells(notice::takeover_blocked));
    EXPECT_TRUE(p.asks(action_kind::schedule_retry));
    const std::string name = p.name();
    p.on(event_kind::retry);
    EXPECT_EQ(p.name(), name);
    EXPECT_FALSE(p.tells(notice::takeover_blocked)) << "a mail at every retry is a storm";
    EXPECT_EQ(p.on(event_kind::operator_failover).name(), "Claiming") << "an operator may";
    return name;
  };
  EXPECT_EQ(blocked_by([](primary_state& s) { s.configured.manual_only = true; }), "Blocked(automation off)");
  EXPECT_EQ(blocked_by([](primary_state& s) { s.versions_differ = true; }), "Blocked(versions differ)");
  EXPECT_EQ(blocked_by([](primary_state& s) { s.flapping = true; }), "Blocked(flapping)");
}

TEST(policy_takeover, a_version_difference_may_be_allowed) {
  driven_primary p;
  p.state.versions_differ = p.state.configured.allow_version_difference = true;
  EXPECT_EQ(p.miss(15).name(), "Claiming");
}

TEST(policy_takeover, failures_before_the_stand_in_ran_give_the_right_back) {
  struct {
    S at;
    failure as;
    const char* name;
  } const cases[] = {
      {S::verify_copy, failure::copy_stale, "Blocked(copy stale)"},
      {S::pre_hook, failure::hook_veto, "Blocked(hook veto)"},
      {S::address_probe, failure::address_in_use, "Blocked(address in use)"},
      {S::add_address, failure::other, "Blocked(step failed)"},
      {S::start_application, failure::other, "Blocked(application failed)"},
  };
  for (const auto& each : cases) {
    driven_primary p;
    p.taking_over_until(each.at).on(failed(each.at, each.as, "because"));
    EXPECT_EQ(p.name(), "TakingOver(return_address)");
    EXPECT_TRUE(p.tells(notice::takeover_blocked));
    p.on(done(S::return_address));
    EXPECT_EQ(p.state.owner, right_owner::primary);
    EXPECT_EQ(p.state.epoch, 3u);
    EXPECT_FALSE(may_grant(p.state)) << "not before it is recorded everywhere";
    p.on(done(S::return_right));
    EXPECT_EQ(p.name(), each.name);
    EXPECT_TRUE(p.asks(action_kind::release_slot));
    EXPECT_TRUE(may_grant(p.state));
    EXPECT_NE(p.state.reason.find("because"), std::string::npos);
    // The fence may have stopped the application of a primary that lives: it is owed a start.
    EXPECT_EQ(p.on(event_kind::probe_ok).name(), "FailingBack(start_application)");
    EXPECT_EQ(p.on(done(S::start_primary)).name(), "Monitoring");
  }
}

TEST(policy_takeover, the_same_reason_is_mailed_once_over_retries) {
  driven_primary p;
  p.taking_over_until(S::pre_hook).on(failed(S::pre_hook, failure::hook_veto, "no")).work();
  p.on(event_kind::retry).on(event_kind::slot_granted).work(S::pre_hook);
  p.on(failed(S::pre_hook, failure::hook_veto, "no"));
  EXPECT_FALSE(p.tells(notice::takeover_blocked));
}

TEST(policy_takeover, a_start_that_may_have_run_keeps_the_copy) {
  driven_primary p;
  p.taking_over_until(S::start_application);
  p.on(failed(S::start_application, failure::other, "died", true));
  EXPECT_EQ(p.name(), "StandingDown(stop_application)");
  p.work();
  EXPECT_EQ(p.name(), "StoodDown");
  EXPECT_TRUE(p.state.copy_newest);
  EXPECT_EQ(p.state.owner, right_owner::failover_host);
}

TEST(policy_takeover, a_doubtful_stand_in_is_better_than_none) {
  driven_primary p;
  p.taking_over_until(S::application_check).on(failed(S::application_check, failure::other, "no answer"));
  EXPECT_TRUE(p.tells(notice::takeover_impaired));
  EXPECT_EQ(p.work().name(), "StandingIn");
  EXPECT_NE(p.state.reason.find("no answer"), std::string::npos);
}

TEST(policy_takeover, a_primary_heard_before_the_fence_withdraws_it) {
  driven_primary p;
  p.taking_over_until(S::pre_hook).on(event_kind::probe_ok);
  EXPECT_EQ(p.name(), "TakingOver(return_address)");
  EXPECT_TRUE(p.asks(action_kind::cancel_step));
  EXPECT_EQ(p.work().name(), "Monitoring");
  driven_primary fenced;
  fenced.taking_over_until(S::address_probe).on(event_kind::probe_ok);
  EXPECT_TRUE(fenced.ignored);
}

TEST(policy_takeover, a_second_failure_is_alerted_queued_and_taken_when_the_place_is_free) {
  driven_primary p;
  p.miss(15).on(event{.kind = event_kind::slot_denied, .position = 2, .reason = "standing in for shop"});
  EXPECT_EQ(p.name(), "Blocked(slot busy)");
  EXPECT_TRUE(p.tells(notice::second_failure));
  EXPECT_TRUE(mailed(notice::second_failure));
  EXPECT_EQ(p.state.queue_position, 2u);
  p.on(event{.kind = event_kind::slot_denied, .position = 1, .reason = "standing in for till"});
  EXPECT_EQ(p.name(), "Blocked(slot busy)");
  EXPECT_EQ(p.state.queue_position, 1u) << "who was before it is gone";
  EXPECT_NE(p.state.reason.find("till"), std::string::npos);
  EXPECT_FALSE(p.asks(action_kind::raise)) << "told already";
  driven_primary recovered = p;
  recovered.on(event_kind::probe_ok);
  EXPECT_EQ(recovered.name(), "Monitoring");
  EXPECT_TRUE(recovered.asks(action_kind::release_slot)) << "it leaves the queue";
  p.on(event_kind::slot_granted);
  EXPECT_EQ(p.name(), "Claiming(claim_right)");
  EXPECT_EQ(p.work().name(), "StandingIn");
}

TEST(policy_takeover, a_switchover_stops_and_drains_the_primary_first) {
  driven_primary p;
  p.on(event_kind::operator_failover).on(event_kind::slot_granted).on(done(S::claim_right));
  EXPECT_EQ(p.name(), "TakingOver(stop_primary)");
  p.on(event_kind::probe_ok);
  EXPECT_TRUE(p.ignored) << "it is expected to answer";
  p.on(done(S::stop_primary));
  EXPECT_EQ(p.name(), "TakingOver(drain_primary)");
  EXPECT_EQ(p.on(done(S::drain_primary)).name(), "TakingOver(freeze_apply)");
  EXPECT_EQ(p.work().name(), "StandingIn");
}

TEST(policy_takeover, force_does_not_ask_the_primary) {
  driven_primary p;
  event force = happened(event_kind::operator_failover, "burning", "anna");
  force.force = true;
  p.on(force).on(event_kind::slot_granted).on(done(S::claim_right));
  EXPECT_EQ(p.name(), "TakingOver(freeze_apply)");
}

TEST(policy_takeover, a_switchover_that_fails_gives_the_service_back) {
  for (const S each : {S::stop_primary, S::drain_primary, S::freeze_apply, S::verify_copy, S::pre_hook,
                       S::fence, S::address_probe, S::add_address, S::start_application}) {
    driven_primary p;
    p.on(event_kind::operator_failover).on(event_kind::slot_granted).work(each);
    p.on(failed(each, failure::unreachable, "x")).work(S::start_primary);
    EXPECT_EQ(p.name(), "FailingBack(start_application)") << to_string(each);
    EXPECT_TRUE(may_grant(p.state));
    EXPECT_EQ(p.work().name(), "Monitoring");
    EXPECT_EQ(p.state.owner, right_owner::primary);
  }
}

TEST(policy_takeover, a_switchover_whose_stand_in_does_not_serve_fails_back_by_itself) {
  driven_primary p;
  p.on(event_kind::operator_failover).on(event_kind::slot_granted).work(S::application_check);
  p.on(failed(S::application_check, failure::other, "x")).work(S::reverse_heal);
  EXPECT_EQ(p.name(), "FailingBack(reverse_heal)");
  EXPECT_FALSE(p.state.serving);
  EXPECT_EQ(p.work().name(), "Monitoring");
}

TEST(policy_takeover, cancel_works_before_the_fence_only) {
  driven_primary p;
  p.on(event_kind::operator_failover).on(event_kind::slot_granted).work(S::drain_primary);
  EXPECT_EQ(p.on(event_kind::operator_cancel).work().name(), "Monitoring");
  driven_primary late;
  late.taking_over_until(S::address_probe).on(event_kind::operator_cancel);
  EXPECT_TRUE(late.ignored);
  EXPECT_FALSE(late.refusal.empty());
}

TEST(policy_takeover, resumes_at_the_last_intent_after_a_restart) {
  driven_primary p;
  p.on(event_kind::operator_failover).on(event_kind::slot_granted).work(S::verify_copy);
  EXPECT_TRUE(p.on(event_kind::restarted).starts(S::verify_copy)) << "a switchover";
  p.work(S::add_address);
  EXPECT_TRUE(p.on(event_kind::restarted).starts(S::fence));
  driven_primary q;
  q.taking_over_until(S::start_application).on(event_kind::restarted);
  EXPECT_EQ(q.name(), "TakingOver(fence)");
  EXPECT_TRUE(q.state.copy_newest) << "it may have been started";
  EXPECT_EQ(q.work().name(), "StandingIn");
  EXPECT_EQ(driven_primary().taken_over().on(event_kind::restarted).name(), "TakingOver(fence)");
}

TEST(policy_takeover, after_a_reboot_before_any_stand_in_it_is_undone_and_30_applies) {
  driven_primary p;
  p.taking_over_until(S::add_address).on(event_kind::host_rebooted).work();
  EXPECT_EQ(p.name(), "Monitoring");
  EXPECT_EQ(takeover_threshold(p.state), 30u);
}

TEST(policy_takeover, after_a_restart_before_any_stand_in_an_automatic_one_is_undone) {
  for (const S each :
       {S::freeze_apply, S::verify_copy, S::pre_hook, S::fence, S::address_probe, S::add_address}) {
    driven_primary p;
    p.taking_over_until(each).on(event_kind::restarted);
    EXPECT_EQ(p.name(), "TakingOver(return_address)") << to_string(each);
    p.work();
    EXPECT_EQ(p.name(), "Monitoring");
    EXPECT_EQ(p.state.owner, right_owner::primary);
    EXPECT_TRUE(p.asks(action_kind::start_sync)) << "the old freeze is over";
    EXPECT_EQ(p.state.missed, 0u);
    EXPECT_EQ(p.on(event_kind::probe_ok).name(), "FailingBack(start_application)");
  }
}

TEST(policy_takeover, on_the_newest_data_a_passing_failure_is_waited_out) {
  for (const S each : {S::fence, S::address_probe, S::add_address}) {
    driven_primary p;
    p.taken_over().on(event_kind::host_rebooted).work(each);
    p.on(failed(each, failure::other, "no route"));
    EXPECT_EQ(p.state.doing, each);
    EXPECT_TRUE(p.asks(action_kind::schedule_retry));
    EXPECT_FALSE(p.starts(each)) << "not at once";
    EXPECT_TRUE(p.on(event_kind::retry).starts(each));
    driven_primary stopped = p;
    EXPECT_EQ(stopped.on(event_kind::operator_stop_failover).work().name(), "StoodDown");
    EXPECT_EQ(p.work().name(), "StandingIn");
  }
  driven_primary p;
  p.taken_over().on(event_kind::host_rebooted).work(S::address_probe);
  p.on(failed(S::address_probe, failure::address_in_use, "x"));
  EXPECT_EQ(p.name(), "StandingDown(stop_application)");
  driven_primary fresh;
  fresh.taking_over_until(S::fence).on(event_kind::retry);
  EXPECT_TRUE(fresh.ignored);
  EXPECT_TRUE(fresh.on(event_kind::operator_stop_failover).ignored) << "no stand-in is there to stop";
}

TEST(policy_takeover, an_agent_that_is_ahead_can_be_fenced_all_the_same) {
  driven_primary p;
  const primary_state before = p.state;
  p.on(saw_epoch(3));
  EXPECT_EQ(p.name(), "Monitoring");
  EXPECT_EQ(p.state.epoch, 3u);
  EXPECT_TRUE(must_persist(before, p.state));
  EXPECT_TRUE(p.actions.empty());
  EXPECT_EQ(p.on(saw_epoch(2)).state.epoch, 3u) << "never back";
  EXPECT_EQ(p.taken_over().state.epoch, 4u);
  EXPECT_EQ(p.on(saw_epoch(3)).state.epoch, 4u) << "not fenced yet, and it can be";
  EXPECT_EQ(p.on(saw_epoch(4, right_owner::failover_host)).state.epoch, 4u) << "fenced";
}

TEST(policy_takeover, an_agent_found_ahead_after_the_takeover_is_fenced_with_a_newer_epoch) {
  for (const std::uint64_t theirs : {2u, 7u}) {
    driven_primary p;
    p.taken_over().on(saw_epoch(theirs));
    EXPECT_EQ(p.name(), "StandingIn");
    EXPECT_EQ(p.state.owner, right_owner::failover_host);
    EXPECT_EQ(p.state.epoch, theirs + 1) << "an equal one is refused too";
  }
  driven_primary p;
  p.taken_over().on(saw_epoch(7, right_owner::failover_host));
  EXPECT_EQ(p.state.epoch, 7u) << "fenced by an earlier life of this host: the return is newer";
}

TEST(policy_takeover, a_conflict_fences_again) {
  driven_primary p;
  p.taken_over().on(happened(event_kind::conflict, "ARP from its MAC"));
  EXPECT_EQ(p.name(), "Conflict(fence_again)");
  EXPECT_TRUE(p.tells(notice::conflict));
  EXPECT_TRUE(p.starts(S::fence_again));
  p.on(failed(S::fence_again, failure::unreachable, "x"));
  EXPECT_TRUE(p.asks(action_kind::schedule_retry));
  EXPECT_EQ(p.name(), "Conflict(fence_again)") << "nobody answered";
  for (int i = 0; i < 3; ++i) {
    EXPECT_TRUE(p.on(happened(event_kind::conflict, "ARP from its MAC")).ignored) << "told already";
    EXPECT_TRUE(p.on(event_kind::retry).starts(S::fence_again));
    EXPECT_FALSE(p.asks(action_kind::raise));
    EXPECT_FALSE(p.on(failed(S::fence_again, failure::unreachable, "x")).asks(action_kind::raise));
  }
  p.on(saw_epoch(p.state.epoch));
  EXPECT_EQ(p.name(), "Conflict(fence_again)") << "a newer epoch is not yet an answer";
  EXPECT_TRUE(p.on(event_kind::retry).starts(S::fence_again));
  EXPECT_EQ(p.on(done(S::fence_again)).name(), "StandingIn");
}

}  // namespace
}  // namespace understudy::policy
