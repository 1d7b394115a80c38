#include <gtest/gtest.h>

#include "tests/unit/policy_testing.hpp"

namespace understudy::policy {
namespace {

TEST(policy_detection, the_guides_counts_warn_at_5_and_take_over_at_15) {
  driven_primary p;
  for (int n = 1; n <= 15; ++n) {
    p.miss(1);
    EXPECT_EQ(p.tells(notice::warning), n == 5) << n;
    EXPECT_EQ(p.asks(action_kind::request_slot), n == 15) << n;
    if (n < 5) {
      EXPECT_EQ(p.state.at, phase::suspect) << n;
    }
    if (n >= 5 && n < 15) {
      EXPECT_EQ(p.state.at, phase::warned) << n;
    }
  }
  EXPECT_EQ(p.name(), "Claiming");
  EXPECT_TRUE(p.tells(notice::failure));
  EXPECT_EQ(p.state.why_acting, cause::automatic);
}

TEST(policy_detection, only_consecutive_misses_count) {
  driven_primary p;
  for (int i = 0; i < 20; ++i) {
    p.miss(14);
    EXPECT_EQ(p.state.at, phase::warned);
    p.on(event_kind::probe_ok);
    EXPECT_EQ(p.name(), "Monitoring");
    EXPECT_EQ(p.state.missed, 0u);
  }
}

TEST(policy_detection, after_a_reboot_30_until_the_first_reply) {
  driven_primary p;
  p.on(event_kind::host_rebooted).miss(29);
  EXPECT_EQ(p.state.at, phase::warned);
  EXPECT_EQ(driven_primary(p).miss(1).name(), "Claiming");
  p.on(event_kind::probe_ok).miss(14);
  EXPECT_EQ(p.state.at, phase::warned);
  p.miss(1);
  EXPECT_EQ(p.name(), "Claiming");
}

TEST(policy_detection, a_restart_of_the_daemon_is_no_reboot) {
  driven_primary p;
  p.miss(9).on(event_kind::restarted);
  EXPECT_EQ(p.name(), "Monitoring");
  p.miss(14);
  EXPECT_EQ(p.state.at, phase::warned);
  p.miss(1);
  EXPECT_EQ(p.name(), "Claiming");
}

TEST(policy_detection, changed_counts_are_in_force_at_once) {
  driven_primary p;
  p.miss(9);
  event changed = happened(event_kind::settings_changed);
  changed.configured.failover_count = 10;
  p.on(changed).miss(1);
  EXPECT_EQ(p.name(), "Claiming");
}

TEST(policy_detection, a_blind_host_freezes_the_count) {
  driven_primary p;
  p.miss(7).on(event_kind::host_blind);
  EXPECT_EQ(p.name(), "Blind");
  p.miss(100);
  EXPECT_EQ(p.state.missed, 7u);
  p.on(event_kind::host_sees);
  EXPECT_EQ(p.name(), "Warned");
  EXPECT_FALSE(p.tells(notice::warning));
  p.miss(7);
  EXPECT_EQ(p.name(), "Warned");
  p.miss(1);
  EXPECT_EQ(p.name(), "Claiming");
}

TEST(policy_detection, a_host_that_turns_blind_withdraws_its_claim) {
  driven_primary p;
  p.miss(15).on(event_kind::slot_granted).on(event_kind::host_blind);
  EXPECT_EQ(p.name(), "Blind");
  EXPECT_TRUE(p.asks(action_kind::withdraw_claim));
  EXPECT_TRUE(p.asks(action_kind::release_slot));
  EXPECT_TRUE(p.asks(action_kind::cancel_step));
}

TEST(policy_detection, the_leased_modes_claim_at_the_4th_miss_and_withdraw_at_a_reply) {
  driven_primary p;
  p.state.configured.mode = protection::guarded;
  p.miss(3);
  EXPECT_TRUE(may_grant(p.state));
  p.miss(1);
  EXPECT_TRUE(p.asks(action_kind::record_claim));
  EXPECT_FALSE(may_grant(p.state));
  p.miss(1);
  EXPECT_FALSE(p.asks(action_kind::record_claim));
  p.on(event_kind::probe_ok);
  EXPECT_TRUE(p.asks(action_kind::withdraw_claim));
  EXPECT_TRUE(may_grant(p.state));
}

TEST(policy_detection, compat_claims_nothing_early) {
  driven_primary p;
  p.miss(14);
  EXPECT_FALSE(p.state.claimed);
  EXPECT_TRUE(may_grant(p.state));
}

TEST(policy_detection, a_reset_of_the_primary_is_mailed_wherever_it_stands) {
  for (int i = 0; i < phase_count; ++i) {
    driven_primary p;
    p.state.at = static_cast<phase>(i);
    const phase before = p.state.at;
    p.on(happened(event_kind::agent_reset, "boot id changed"));
    EXPECT_TRUE(p.tells(notice::server_reset));
    EXPECT_EQ(p.state.at, before);
  }
}

TEST(policy_detection, suspend_stops_monitoring_and_files_and_says_who_and_why) {
  driven_primary p;
  event suspend = happened(event_kind::operator_suspend, "new disk", "anna");
  suspend.until_ms = 1'800'000'000'000;
  p.miss(3).on(suspend);
  EXPECT_EQ(p.name(), "Suspended");
  EXPECT_EQ(p.state.until_ms, 1'800'000'000'000);
  EXPECT_EQ(p.state.by, "anna");
  EXPECT_EQ(p.state.why, "new disk");
  EXPECT_TRUE(p.asks_for({.kind = action_kind::stop_sync, .part = sync_part::files}));
  EXPECT_FALSE(p.asks_for({.kind = action_kind::stop_sync, .part = sync_part::both}));
  EXPECT_EQ(p.state.replication.at, copy_phase::streaming);
  p.miss(100);
  EXPECT_EQ(p.name(), "Suspended");
  p.on(event_kind::operator_resume);
  EXPECT_EQ(p.name(), "Monitoring");
  EXPECT_EQ(p.state.missed, 0u);
  EXPECT_EQ(p.state.until_ms, 0);
  EXPECT_TRUE(p.asks(action_kind::start_sync));
}

TEST(policy_detection, stop_stops_both_and_start_heals_both) {
  driven_primary p;
  p.on(event_kind::operator_stop);
  EXPECT_EQ(p.name(), "Stopped");
  EXPECT_TRUE(p.asks_for({.kind = action_kind::stop_sync, .part = sync_part::both}));
  EXPECT_EQ(p.state.replication.at, copy_phase::stopped);
  EXPECT_TRUE(p.on(event_kind::operator_resume).ignored);
  p.on(event_kind::operator_start);
  EXPECT_EQ(p.name(), "Monitoring");
  EXPECT_TRUE(p.asks_for({.kind = action_kind::start_sync, .part = sync_part::both}));
  EXPECT_EQ(p.state.replication.at, copy_phase::behind);
}

TEST(policy_detection, a_pause_ends_by_itself_and_survives_restarts) {
  for (const event_kind pause : {event_kind::operator_suspend, event_kind::operator_stop}) {
    driven_primary p;
    p.on(pause);
    const phase paused = p.state.at;
    p.on(event_kind::restarted).on(event_kind::host_rebooted);
    EXPECT_EQ(p.state.at, paused);
    EXPECT_EQ(p.on(event_kind::until_expired).name(), "Monitoring");
  }
}

TEST(policy_detection, nothing_to_sync_while_only_counting) {
  driven_primary p;
  const primary_state monitoring = p.state;
  p.miss(4);
  EXPECT_FALSE(must_persist(monitoring, p.state));
  const primary_state suspect = p.state;
  p.miss(1);
  EXPECT_TRUE(must_persist(suspect, p.state));
}

}  // namespace
}  // namespace understudy::policy
