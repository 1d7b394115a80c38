// The operator's ways to the failover host and back.

#include <filesystem>
#include <fstream>

#include "tests/lab/system_fixture.hpp"

namespace understudy::test {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;

constexpr int exit_precondition = 7;

class system_failback : public system_test {
 protected:
  // The primary commits what the host never sees, is lost, is stood in for, and comes back.
  void diverge() {
    protect();
    const std::string address = site->service_address();
    ASSERT_EQ(ask(address, "add shared"), "ok 1");
    ASSERT_TRUE(wait_until([&] { return ids_of_copy().size() == 1; }, 10s, 20ms));
    site->primary().cut();
    // From the primary itself: nobody else reaches it.
    std::string answer;
    site->primary().call([&] { answer = ask_here("127.0.0.1", "add only-primary"); });
    ASSERT_EQ(answer, "ok 2");
    ASSERT_TRUE(site->wait_phase("StandingIn"));
    ASSERT_TRUE(serves(address));
    ASSERT_EQ(ask(address, "add only-copy"), "ok 2");
    site->power_off();  // before the cable is back: its application never meets the stand-in
    site->power_on();
  }
  // In the databases that were set aside on the primary, or on the host.
  std::vector<std::string> set_aside_on_primary() {
    return set_aside(site->on_primary("/var/lib/understudy-agent/set-aside"));
  }
  std::vector<std::string> set_aside_here() {
    return set_aside(site->failover().root() / "var/lib/understudy/servers/primary/set-aside");
  }

 private:
  static std::vector<std::string> set_aside(const std::filesystem::path& kept) {
    std::vector<std::string> ids;
    if (!std::filesystem::exists(kept)) return ids;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(kept)) {
      if (entry.path().filename() != "counter.db") continue;
      const auto found = protected_system::counter_ids(entry.path());
      ids.insert(ids.end(), found.begin(), found.end());
    }
    return ids;
  }
};

TEST_F(system_failback, switchover_and_back_lose_nothing) {
  protect();
  commit_client& client = client_at(site->service_address());
  ASSERT_TRUE(client.wait_confirmed(30, wall_clock::now(), 10s));
  write_document("before", "1");
  site->must({"failover", "primary", "--yes"});
  EXPECT_EQ(site->state()->state(), "StandingIn");
  ASSERT_TRUE(client.wait_confirmed(30, wall_clock::now(), 10s));
  EXPECT_TRUE(copy_has_document("before"));
  std::ofstream(site->copy_of(site->options().application.files + "/during")) << "2";
  site->must({"failback", "primary", "--yes"});
  ASSERT_TRUE(client.wait_confirmed(30, wall_clock::now(), 10s));
  client.stop();
  EXPECT_THAT(missing(client.confirmed(), ids_of_primary()), IsEmpty());
  EXPECT_EQ(site->primary().read_file(site->options().application.files + "/during"), "2");
  ASSERT_TRUE(site->wait_in_step());
  EXPECT_TRUE(wait_until([&] { return ids_of_copy() == ids_of_primary(); }, 10s, 20ms));
}

// Forced: the primary is not asked first, and is fenced when it hears of it.
TEST_F(system_failback, forced_failover_of_a_living_primary) {
  protect();
  const std::string address = site->service_address();
  ASSERT_EQ(ask(address, "add one"), "ok 1");
  ASSERT_TRUE(wait_until([&] { return ids_of_copy().size() == 1; }, 10s, 20ms));
  const ctl_result without_reason = site->ctl({"failover", "primary", "--force", "--yes"});
  EXPECT_NE(without_reason.exit, 0);
  site->must({"failover", "primary", "--force", "--reason", "a test", "--yes"});
  ASSERT_TRUE(serves(address));
  EXPECT_EQ(ask(address, "has one"), "yes");
  EXPECT_TRUE(site->owns_address(site->failover(), address));
  EXPECT_TRUE(wait_until([&] { return !site->owns_address(site->primary(), address); }, 5s, 20ms));
  EXPECT_TRUE(site->wait_state(
      [](const v1::ServerState& now) {
        return now.primary_applications_size() == 1 &&
               now.primary_applications(0).state() == v1::APPLICATION_STATE_STOPPED;
      },
      10s));
  site->must({"failback", "primary", "--discard-primary", "--yes"});
  EXPECT_TRUE(serves(address));
}

// The classic way: stop the failover server, replicate to live, the application starts on the primary.
TEST_F(system_failback, stop_failover_then_replicate_to_live) {
  protect();
  const std::string address = site->service_address();
  site->must({"failover", "primary", "--yes"});
  ASSERT_TRUE(serves(address));
  ASSERT_EQ(ask(address, "add meanwhile"), "ok 1");
  site->must({"stop-failover", "primary", "--yes"});
  EXPECT_EQ(site->state()->state(), "StoodDown");
  EXPECT_EQ(site->state()->status(), v1::SERVER_STATUS_FAILURE);
  EXPECT_EQ(ask(address, "ping"), "");  // nobody serves
  EXPECT_FALSE(site->owns_address(site->failover(), address));
  site->must({"replicate", "to-live", "primary", "--yes"});
  ASSERT_TRUE(serves(address));
  EXPECT_EQ(ask(address, "has meanwhile"), "yes");
  EXPECT_TRUE(site->wait_in_step());
}

TEST_F(system_failback, diverged_data_needs_a_choice_and_is_kept) {
  ASSERT_NO_FATAL_FAILURE(diverge());
  const std::string address = site->service_address();
  const ctl_result refused = site->ctl({"failback", "primary", "--yes"});
  EXPECT_EQ(refused.exit, exit_precondition) << refused.output << refused.error;
  EXPECT_THAT(refused.output + refused.error, HasSubstr("--discard-primary"));
  EXPECT_TRUE(site->wait_phase("StandingIn"));
  EXPECT_EQ(ask(address, "has only-copy"), "yes");  // it serves on
  EXPECT_EQ(ids_of_primary(), (std::vector<std::string>{"only-primary", "shared"}));
  EXPECT_THAT(set_aside_on_primary(), IsEmpty());

  site->must({"failback", "primary", "--discard-primary", "--yes"});
  ASSERT_TRUE(serves(address));
  EXPECT_EQ(ids_of_primary(), (std::vector<std::string>{"only-copy", "shared"}));
  EXPECT_EQ(set_aside_on_primary(), (std::vector<std::string>{"only-primary", "shared"}));
  EXPECT_TRUE(site->wait_in_step());
}

TEST_F(system_failback, keep_primary_brings_its_data_back_into_service) {
  ASSERT_NO_FATAL_FAILURE(diverge());
  site->must({"failback", "primary", "--keep-primary", "--yes"});
  ASSERT_TRUE(serves(site->service_address()));
  EXPECT_EQ(ids_of_primary(), (std::vector<std::string>{"only-primary", "shared"}));
  EXPECT_EQ(set_aside_here(), (std::vector<std::string>{"only-copy", "shared"}));
  EXPECT_FALSE(site->state()->is_protected());  // the copy was given up
  site->must({"replicate", "from-live", "primary", "--yes"});
  ASSERT_TRUE(site->wait_in_step());
  EXPECT_TRUE(wait_until([&] { return ids_of_copy() == ids_of_primary(); }, 10s, 20ms));
}

// The cable is back while both serve: the primary is fenced, and the operator need not wait for that.
TEST_F(system_failback, ends_a_conflict_as_soon_as_it_is_asked_for) {
  protect();
  const std::string address = site->service_address();
  ASSERT_EQ(ask(address, "add shared"), "ok 1");
  ASSERT_TRUE(wait_until([&] { return ids_of_copy().size() == 1; }, 10s, 20ms));
  site->primary().cut();
  ASSERT_TRUE(site->wait_phase("StandingIn"));
  ASSERT_TRUE(serves(address));
  ASSERT_EQ(ask(address, "add only-copy"), "ok 2");
  std::string answer;
  site->primary().call([&] { answer = ask_here("127.0.0.1", "add only-primary"); });
  ASSERT_EQ(answer, "ok 2");
  site->primary().restore();
  ASSERT_TRUE(site->wait_event("conflict", 15s));
  const ctl_result back = site->ctl({"failback", "primary", "--discard-primary", "--yes"});
  EXPECT_EQ(back.exit, 0) << back.output << back.error;
  ASSERT_TRUE(serves(address));
  EXPECT_EQ(ids_of_primary(), (std::vector<std::string>{"only-copy", "shared"}));
  EXPECT_EQ(set_aside_on_primary(), (std::vector<std::string>{"only-primary", "shared"}));
  EXPECT_EQ(site->state()->state(), "Monitoring");
}

// SUSPENDED: no monitoring, files wait, databases go on. STOPPED: nothing goes on.
TEST_F(system_failback, suspend_resume_stop_start) {
  protect();
  const std::string address = site->service_address();
  site->must({"suspend", "primary", "--for", "1h", "--reason", "a test"});
  EXPECT_EQ(site->state()->status(), v1::SERVER_STATUS_SUSPENDED);
  write_document("while-suspended", "1");
  ASSERT_EQ(ask(address, "add suspended"), "ok 1");
  EXPECT_TRUE(wait_until([&] { return ids_of_copy().size() == 1; }, 10s, 20ms));
  EXPECT_FALSE(copy_has_document("while-suspended"));
  site->primary().cut();
  EXPECT_FALSE(site->wait_event("failure", 2s));  // twice what a failure takes
  site->primary().restore();
  EXPECT_EQ(site->state()->status(), v1::SERVER_STATUS_SUSPENDED);
  site->must({"resume", "primary"});
  EXPECT_TRUE(wait_until([&] { return copy_has_document("while-suspended"); }, 10s, 20ms));
  ASSERT_TRUE(site->wait_in_step());

  site->must({"stop", "primary", "--reason", "a test"});
  EXPECT_EQ(site->state()->status(), v1::SERVER_STATUS_STOPPED);
  write_document("while-stopped", "1");
  ASSERT_EQ(ask(address, "add stopped"), "ok 2");
  EXPECT_FALSE(
      wait_until([&] { return ids_of_copy().size() == 2 || copy_has_document("while-stopped"); }, 1s, 20ms));
  site->must({"start", "primary"});
  EXPECT_TRUE(
      wait_until([&] { return ids_of_copy().size() == 2 && copy_has_document("while-stopped"); }, 10s, 20ms));
  EXPECT_TRUE(site->wait_in_step());
}

}  // namespace
}  // namespace understudy::test
