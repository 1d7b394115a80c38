// Daemons and machines that end in the middle of something: they take it up where it stood.

#include <signal.h>

#include "tests/lab/system_fixture.hpp"

namespace understudy::test {
namespace {

using testing::IsEmpty;

class system_restart : public system_test {
 protected:
  // Kills the failover host's daemon as soon as it logs the end of `step` (again, after what it logged so
  // far), and starts it anew.
  void kill_host_after(const std::string& step, std::size_t logged_before) {
    process& daemon = site->host_daemon();
    ASSERT_TRUE(wait_until(
        [&] { return daemon.log().find("] " + step + " done in", logged_before) != std::string::npos; }, 20s,
        1ms))
        << step;
    daemon.signal(SIGKILL);
    daemon.wait();
    site->start_host();
  }
};

// The steps follow each other within milliseconds, so the kill lands in this one's record or in a step soon
// after.
TEST_F(system_restart, host_killed_during_takeover_resumes_it) {
  protect();
  const std::string address = site->service_address();
  int number = 0;
  for (const std::string step : {"claim_right", "verify_copy", "fence", "add_address", "start_application"}) {
    SCOPED_TRACE(step);
    const std::string id = "before-" + step;
    ASSERT_EQ(ask(address, "add " + id), "ok " + std::to_string(++number));
    ASSERT_TRUE(wait_until([&] { return ids_of_copy().size() == std::size_t(number); }, 10s, 20ms));
    const std::size_t logged = site->host_daemon().log().size();
    site->power_off();
    ASSERT_NO_FATAL_FAILURE(kill_host_after(step, logged));
    ASSERT_TRUE(site->wait_phase("StandingIn"));
    ASSERT_TRUE(serves(address));
    EXPECT_EQ(ask(address, "has " + id), "yes");
    EXPECT_EQ(ask(address, "add during-" + step), "ok " + std::to_string(++number));
    site->power_on();
    site->must({"failback", "primary", "--discard-primary", "--yes"});
    ASSERT_TRUE(serves(address));
    ASSERT_TRUE(site->wait_in_step());
  }
}

TEST_F(system_restart, host_killed_during_failback_resumes_it) {
  protect();
  const std::string address = site->service_address();
  commit_client& client = client_at(address);
  for (const std::string step : {"reverse_heal", "stop_stand_in", "drain", "set_aside", "hand_over"}) {
    SCOPED_TRACE(step);
    site->must({"failover", "primary", "--yes"});
    ASSERT_TRUE(client.wait_confirmed(5, wall_clock::now(), 10s));
    const std::size_t logged = site->host_daemon().log().size();
    site->must({"failback", "primary", "--no-wait", "--yes"});
    ASSERT_NO_FATAL_FAILURE(kill_host_after(step, logged));
    // To its end, or given up with the stand-in serving: never both, never neither.
    ASSERT_TRUE(site->wait_state(
        [](const v1::ServerState& now) { return now.state() == "Monitoring" || now.state() == "StandingIn"; },
        30s));
    ASSERT_TRUE(client.wait_confirmed(5, wall_clock::now(), 15s));
    if (site->state()->state() == "StandingIn")
      site->must({"failback", "primary", "--discard-primary", "--yes"});
    ASSERT_TRUE(client.wait_confirmed(5, wall_clock::now(), 15s));
    ASSERT_TRUE(site->wait_in_step());
  }
  client.stop();
  EXPECT_THAT(missing(client.confirmed(), ids_of_primary()), IsEmpty());
}

TEST_F(system_restart, failover_host_loses_power_while_it_stands_in) {
  protect();
  const std::string address = site->service_address();
  ASSERT_EQ(ask(address, "add one"), "ok 1");
  ASSERT_TRUE(wait_until([&] { return ids_of_copy().size() == 1; }, 10s, 20ms));
  site->power_off();
  ASSERT_TRUE(site->wait_phase("StandingIn"));
  ASSERT_EQ(ask(address, "add two"), "ok 2");
  site->failover().power_off();
  site->failover().power_on();
  site->start_host();
  ASSERT_TRUE(site->wait_phase("StandingIn", 30s));
  ASSERT_TRUE(serves(address));
  EXPECT_EQ(ask(address, "has two"), "yes");
  site->power_on();
  site->must({"failback", "primary", "--discard-primary", "--yes"});
  ASSERT_TRUE(serves(address));
  EXPECT_EQ(ask(address, "has two"), "yes");
}

TEST_F(system_restart, agent_killed_and_started_again_is_no_failure) {
  protect();
  commit_client& client = client_at(site->service_address());
  ASSERT_TRUE(client.wait_confirmed(20, wall_clock::now(), 10s));
  const auto killed_at = wall_clock::now();
  site->agent().signal(SIGKILL);
  site->agent().wait();
  ASSERT_TRUE(client.wait_confirmed(20, killed_at, 10s));  // the application goes on without it
  site->start_agent();
  ASSERT_TRUE(client.wait_confirmed(20, wall_clock::now(), 10s));
  client.stop();
  ASSERT_TRUE(site->wait_in_step());
  EXPECT_TRUE(wait_until([&] { return ids_of_copy() == ids_of_primary(); }, 10s, 20ms));
  EXPECT_THAT(missing(client.confirmed(), ids_of_copy()), IsEmpty());
  EXPECT_FALSE(site->event("failure"));
  EXPECT_FALSE(site->event("server_reset"));  // the machine was not reset
  EXPECT_LT(client.longest_outage(killed_at - 1s, wall_clock::now()).length(), 2s);
}

}  // namespace
}  // namespace understudy::test
