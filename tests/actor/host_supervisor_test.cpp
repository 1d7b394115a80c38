// The heart of the failover host: a real supervisor with its steps, copies and stand-ins, against a primary
// that is scripted (tests/support/host).

#include <fmt/core.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "common/status/status_text.hpp"
#include "tests/support/host/host_world.hpp"
#include "tests/support/wait.hpp"

namespace understudy::test {
namespace {

using namespace std::chrono_literals;
using testing::Contains;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::SizeIs;

std::vector<std::string> kinds(const std::vector<v1::Event>& events) {
  std::vector<std::string> all;
  for (const auto& event : events) all.push_back(event.kind());
  return all;
}

struct host_supervisor : testing::Test {
  host_world world;
  world_server& p1 = world.server();

  void SetUp() override {
    world.start(false);
    ASSERT_TRUE(world.protect());
  }
  // For this long nothing may happen: a bounded look, not a wait.
  void ping_for(std::chrono::milliseconds period) {
    const auto end = std::chrono::steady_clock::now() + period;
    while (std::chrono::steady_clock::now() < end) {
      world.host->ping([&](const std::string& name) { return world.server(name).answers_pings; });
      std::this_thread::sleep_for(4ms);
    }
  }
};

TEST_F(host_supervisor, takes_over_at_the_nth_missed_ping_and_not_before) {
  const auto miss = [&](int times) {
    for (int n = 0; n < times; ++n) world.host->ping([](const std::string&) { return false; });
  };
  miss(3);
  ASSERT_TRUE(wait_until([&] { return world.is("Warned"); }, 20s)) << world.host->state("p1").state();
  world.host->ping([](const std::string&) { return true; });
  ASSERT_TRUE(wait_until([&] { return world.is("Monitoring"); }, 20s)) << "one reply ends the series";
  miss(3);
  ASSERT_TRUE(wait_until([&] { return world.is("Warned"); }, 20s));
  EXPECT_THAT(p1.primary.orders(), Not(Contains("fence 2")));
  miss(1);
  ASSERT_TRUE(wait_until([&] { return world.is("StandingIn"); }, 20s)) << world.host->state("p1").state();
  EXPECT_THAT(p1.stand_ins(), SizeIs(1));
  EXPECT_EQ(p1.primary.epoch(), 2u);
  EXPECT_TRUE(p1.primary.owned_by_host());
  EXPECT_FALSE(p1.primary.application_runs());
  EXPECT_EQ(world.host->state("p1").epoch(), 2u);
  EXPECT_EQ(world.host->host().standing_in_for(), "p1");
  EXPECT_THAT(kinds(world.host->events("p1")), Contains("takeover"));
  EXPECT_THAT(world.violations(), IsEmpty());
}

TEST_F(host_supervisor, fails_back_with_what_the_stand_in_wrote) {
  p1.answers_pings = false;
  ASSERT_TRUE(world.until([&] { return world.is("StandingIn"); }));
  ASSERT_TRUE(world.until([&] { return p1.stand_in_rows() == 1; }));
  p1.answers_pings = true;
  const auto begun = world.host->command(world.command(api::verb::failback));
  ASSERT_TRUE(begun && begun->status.ok()) << (begun ? message_of(begun->status) : "");
  ASSERT_TRUE(world.until([&] { return world.is("Monitoring"); })) << world.host->state("p1").state();
  EXPECT_THAT(p1.stand_ins(), IsEmpty());
  EXPECT_TRUE(p1.primary.application_runs());
  EXPECT_EQ(p1.primary.epoch(), 3u);
  EXPECT_EQ(run_sql(p1.primary.database(), "select x from t"), "primary,stand-in");
  const auto operations = world.host->operations();
  EXPECT_EQ(operations.back().name(), begun->operation);
  EXPECT_TRUE(operations.back().done());
  EXPECT_FALSE(operations.back().has_error());
  EXPECT_TRUE(world.until([&] { return world.host->state("p1").status() == v1::SERVER_STATUS_OK; }));
  EXPECT_THAT(world.violations(), IsEmpty());
}

// The image is in place, and nobody heard of it: the failback is given up, the stand-in serves on and writes.
TEST_F(host_supervisor, a_failback_whose_adoption_was_not_answered_needs_no_choice_afterwards) {
  p1.answers_pings = false;
  ASSERT_TRUE(world.until([&] { return world.is("StandingIn"); }));
  ASSERT_TRUE(world.until([&] { return p1.stand_in_rows() == 1; }));
  p1.answers_pings = true;
  p1.primary.lose_adoption_answers(1);
  ASSERT_TRUE(world.host->command(world.command(api::verb::failback))->status.ok());
  ASSERT_TRUE(world.until([&] { return world.host->operations().back().has_error(); }));
  ASSERT_TRUE(world.until([&] { return world.is("StandingIn") && p1.stand_in_rows() == 2; }));
  EXPECT_EQ(run_sql(p1.primary.database(), "select count(*) from t"), "2") << "it was adopted";
  ASSERT_TRUE(world.host->command(world.command(api::verb::failback))->status.ok());
  ASSERT_TRUE(world.until([&] { return world.is("Monitoring"); }))
      << world.host->state("p1").state() << ": " << world.host->state("p1").reason();
  EXPECT_EQ(run_sql(p1.primary.database(), "select x from t"), "primary,stand-in,stand-in");
  EXPECT_THAT(world.violations(), IsEmpty());
}

// As after a power cut of the primary: the old line counts as connected until its keepalive runs out.
TEST_F(host_supervisor, a_failback_waits_for_a_line_that_answers) {
  p1.answers_pings = false;
  ASSERT_TRUE(world.until([&] { return world.is("StandingIn"); }));
  ASSERT_TRUE(world.until([&] { return p1.stand_in_rows() == 1; }));
  p1.answers_pings = true;
  p1.primary.deafen_line();
  ASSERT_TRUE(world.host->state("p1").agent_connected());
  ASSERT_TRUE(world.host->command(world.command(api::verb::failback))->status.ok());
  ASSERT_TRUE(world.until([&] { return world.is("Monitoring"); }))
      << world.host->state("p1").state() << ": " << world.host->state("p1").reason();
  EXPECT_FALSE(world.host->operations().back().has_error());
}

TEST_F(host_supervisor, a_reset_of_the_primary_is_noticed_across_a_restart_of_the_daemon) {
  ASSERT_TRUE(world.until([&] { return world.host->state("p1").status() == v1::SERVER_STATUS_OK; }));
  EXPECT_THAT(kinds(world.host->events("p1")), Not(Contains("server_reset")));
  world.stop();
  p1.primary.set_boot_id("another boot");
  world.start(false);
  EXPECT_TRUE(
      world.until([&] { return testing::Value(kinds(world.host->events("p1")), Contains("server_reset")); }));
  world.stop();
  world.start(false);
  ASSERT_TRUE(world.until([&] { return world.host->state("p1").agent_connected(); }));
  ping_for(200ms);
  const auto all = kinds(world.host->events("p1"));
  EXPECT_EQ(std::count(all.begin(), all.end(), "server_reset"), 1);
}

TEST_F(host_supervisor, where_the_primarys_data_wins_the_copy_is_set_aside) {
  p1.answers_pings = false;
  ASSERT_TRUE(world.until([&] { return world.is("StandingIn"); }));
  ASSERT_TRUE(world.until([&] { return p1.stand_in_rows() == 1; }));
  p1.answers_pings = true;
  api::command failback = world.command(api::verb::failback);
  failback.choice = v1::DIVERGED_CHOICE_KEEP_PRIMARY;
  ASSERT_TRUE(world.host->command(failback)->status.ok());
  ASSERT_TRUE(world.until([&] { return world.is("Monitoring"); }))
      << world.host->state("p1").state() << " " << world.host->state("p1").reason();
  EXPECT_EQ(run_sql(p1.primary.database(), "select x from t"), "primary");
  EXPECT_FALSE(world.host->state("p1").is_protected());
  std::string aside;
  for (const auto& entry :
       std::filesystem::recursive_directory_iterator(world.directory.path() + "/host/servers/p1/set-aside")) {
    if (entry.path().filename() == "main.db") aside = entry.path();
  }
  EXPECT_EQ(run_sql(aside, "select x from t"), "primary,stand-in");
  EXPECT_TRUE(world.protect()) << "a new copy can be made";
}

TEST_F(host_supervisor, a_switchover_stops_the_primary_first) {
  ASSERT_TRUE(world.host->command(world.command(api::verb::failover))->status.ok());
  ASSERT_TRUE(world.until([&] { return world.is("StandingIn"); })) << world.host->state("p1").reason();
  EXPECT_FALSE(p1.primary.application_runs());
  EXPECT_THAT(world.violations(), IsEmpty());
}

TEST_F(host_supervisor, nothing_is_done_that_could_not_be_recorded) {
  for (const journal_mode broken : {journal_mode::stalls, journal_mode::fails}) {
    SCOPED_TRACE(static_cast<int>(broken));
    if (broken == journal_mode::fails) {  // a host whose journal stalled waits for it; the next one fails
      world.stop();
      world.start(false);
      ASSERT_TRUE(world.until([&] { return world.host->state("p1").agent_connected(); }));
      ASSERT_TRUE(world.until([&] { return world.is("Monitoring"); }));
    }
    const auto orders = p1.primary.orders();
    world.host->set_journal(broken);
    p1.answers_pings = false;
    ping_for(400ms);
    EXPECT_EQ(p1.primary.orders(), orders);
    EXPECT_THAT(p1.stand_ins(), IsEmpty());
    EXPECT_FALSE(world.is("Claiming"));
    EXPECT_FALSE(world.is("TakingOver"));
    EXPECT_TRUE(p1.primary.application_runs());
    p1.answers_pings = true;
  }
  p1.answers_pings = false;
  world.host->set_journal(journal_mode::works);
  EXPECT_TRUE(world.until([&] { return world.is("StandingIn"); })) << "and once it can be, it is";
}

TEST_F(host_supervisor, a_command_that_could_not_be_recorded_is_refused_and_not_done_later) {
  world.host->set_journal(journal_mode::fails);
  const auto refused = world.host->command(world.command(api::verb::suspend));
  ASSERT_TRUE(refused);
  EXPECT_TRUE(absl::IsUnavailable(refused->status)) << message_of(refused->status);
  world.host->set_journal(journal_mode::works);
  ASSERT_TRUE(world.host->command(world.command(api::verb::replicate_from_live))->status.ok());
  EXPECT_TRUE(world.until([&] { return world.is("Monitoring"); }));
  EXPECT_FALSE(world.is("Suspended"));
}

// The application has another version here than on the primary.
struct host_supervisor_version : host_supervisor {
  void SetUp() override {
    auto& application = *p1.spec.mutable_applications(0);
    application.add_version_command("/bin/cat");
    application.add_version_command(p1.place + "/version");
    here("app 2");
    host_supervisor::SetUp();
  }
  void here(const std::string& version) { std::ofstream(p1.place + "/version") << version << "\n"; }
};

TEST_F(host_supervisor_version, a_difference_is_told_and_forbids_an_automatic_takeover) {
  ASSERT_TRUE(world.until(
      [&] { return testing::Value(kinds(world.host->events("p1")), Contains("versions_differ")); }));
  EXPECT_TRUE(world.until([&] {
    return testing::Value(world.host->state("p1").warnings(),
                          Contains("app is \"app 1\" on the primary and \"app 2\" here"));
  }));
  EXPECT_TRUE(world.until(
      [&] { return testing::Value(world.host->state("p1").next(), HasSubstr("versions differ")); }));
  p1.answers_pings = false;
  ASSERT_TRUE(world.until([&] { return world.is("Blocked(versions differ)"); }))
      << world.host->state("p1").state();
  EXPECT_THAT(p1.stand_ins(), IsEmpty());

  // Upgraded while the daemon was down: equal again, and it is taken over.
  p1.answers_pings = true;
  ASSERT_TRUE(world.until([&] { return world.is("Monitoring"); }));
  world.stop();
  p1.primary.set_version("app 2");
  world.start(false);
  ASSERT_TRUE(world.until([&] {
    const auto now = world.host->state("p1");
    return now.agent_connected() && now.next().find("versions differ") == std::string::npos;
  }));
  p1.answers_pings = false;
  EXPECT_TRUE(world.until([&] { return world.is("StandingIn"); })) << world.host->state("p1").state();
}

// In the middle of a takeover: the hook has ended, its end cannot be recorded, so the fence is not sent.
struct host_supervisor_hook : host_supervisor {
  void SetUp() override {
    p1.spec.add_pre_hook("/bin/sh");
    p1.spec.add_pre_hook("-c");
    p1.spec.add_pre_hook(
        fmt::format("while ! test -e {0}/go; do sleep 0.01; done; exit $(cat {0}/go)", p1.place));
    host_supervisor::SetUp();
  }
  void let_go(int exit_code) { std::ofstream(p1.place + "/go") << exit_code << "\n"; }
};

TEST_F(host_supervisor_hook, a_step_whose_predecessors_end_is_not_recorded_does_not_begin) {
  p1.answers_pings = false;
  ASSERT_TRUE(world.until([&] { return world.is("TakingOver(pre_hook)"); }))
      << world.host->state("p1").state();
  const auto orders = p1.primary.orders();
  world.host->set_journal(journal_mode::fails);
  let_go(0);
  ping_for(400ms);
  EXPECT_EQ(p1.primary.orders(), orders) << "the fence is the next step";
  EXPECT_THAT(p1.stand_ins(), IsEmpty());
  EXPECT_TRUE(world.is("TakingOver(pre_hook)"));
  world.host->set_journal(journal_mode::works);
  EXPECT_TRUE(world.until([&] { return world.is("StandingIn"); }));
  EXPECT_THAT(world.violations(), IsEmpty());
}

TEST_F(host_supervisor_hook, a_veto_undoes_the_takeover) {
  p1.answers_pings = false;
  ASSERT_TRUE(world.until([&] { return world.is("TakingOver(pre_hook)"); }));
  let_go(7);
  ASSERT_TRUE(world.until([&] { return world.is("Blocked(hook veto)"); })) << world.host->state("p1").state();
  EXPECT_THAT(world.host->state("p1").reason(), HasSubstr("exited with 7"));
  EXPECT_THAT(p1.stand_ins(), IsEmpty());
  EXPECT_FALSE(p1.primary.owned_by_host());
  EXPECT_TRUE(p1.primary.application_runs());
  EXPECT_EQ(world.host->host().standing_in_for(), "");
  EXPECT_THAT(world.violations(), IsEmpty());
}

TEST_F(host_supervisor, a_verification_is_refused_where_nothing_keeps_the_copy_in_step) {
  ASSERT_TRUE(world.host->command(world.command(api::verb::suspend))->status.ok());
  EXPECT_TRUE(absl::IsFailedPrecondition(world.host->command(world.command(api::verb::verify))->status));
  ASSERT_TRUE(world.host->command(world.command(api::verb::resume))->status.ok());
  const auto verify = world.host->command(world.command(api::verb::verify));
  ASSERT_TRUE(verify->status.ok()) << message_of(verify->status);
  EXPECT_TRUE(world.until([&] {
    const auto all = world.host->operations();
    return all.back().name() == verify->operation && all.back().done() && !all.back().has_error();
  }));
}

TEST_F(host_supervisor, a_verification_that_could_not_read_everything_fails) {
  p1.primary.set_unreadable(true);
  const auto verify = world.host->command(world.command(api::verb::verify));
  ASSERT_TRUE(verify->status.ok()) << message_of(verify->status);
  ASSERT_TRUE(world.until([&] { return world.host->operations().back().done(); }));
  EXPECT_THAT(world.host->operations().back().error().message(), HasSubstr("the disk does not give page 2"));
  // It says nothing about the next one.
  p1.primary.set_unreadable(false);
  const auto again = world.host->command(world.command(api::verb::verify));
  ASSERT_TRUE(again->status.ok()) << message_of(again->status);
  ASSERT_TRUE(world.until([&] {
    const auto all = world.host->operations();
    return all.back().name() == again->operation && all.back().done();
  }));
  EXPECT_FALSE(world.host->operations().back().has_error())
      << world.host->operations().back().error().message();
}

TEST(host_supervisors, stand_in_for_one_at_a_time) {
  host_world world({"a", "b"});
  world.start(false);
  ASSERT_TRUE(world.protect("a"));
  ASSERT_TRUE(world.protect("b"));
  world_server& a = world.server("a");
  world_server& b = world.server("b");
  a.answers_pings = false;
  ASSERT_TRUE(world.until([&] { return world.is("StandingIn", "a"); }));
  b.answers_pings = false;
  b.primary.die();
  ASSERT_TRUE(world.until([&] { return world.is("Blocked(slot busy)", "b"); }));
  EXPECT_EQ(world.host->state("b").queue_position(), 1u);
  EXPECT_THAT(kinds(world.host->events("b")), Contains("second_failure"));
  ASSERT_TRUE(world.until([&] { return world.host->host().queue_size() == 1; }));
  EXPECT_EQ(world.host->host().queue(0), "b");
  EXPECT_THAT(b.stand_ins(), IsEmpty());

  a.answers_pings = true;
  ASSERT_TRUE(world.host->command(world.command(api::verb::failback, "a"))->status.ok());
  ASSERT_TRUE(world.until([&] { return world.is("StandingIn", "b"); })) << world.host->state("b").state();
  EXPECT_THAT(b.stand_ins(), SizeIs(1));
  ASSERT_TRUE(world.until([&] { return world.is("Monitoring", "a"); }));
  EXPECT_THAT(a.stand_ins(), IsEmpty());
  EXPECT_EQ(world.host->host().standing_in_for(), "b");
  EXPECT_THAT(world.violations(), IsEmpty());
}

// A server that was removed and added again is new to this host, and its agent remembers: epochs go on.
TEST(host_supervisors, go_on_from_the_epoch_that_the_agent_knows) {
  host_world world;
  world_server& p1 = world.server();
  for (int life = 0; life < 2; ++life) {
    if (life == 1) {
      world.stop();
      std::filesystem::remove_all(world.directory.path() + "/host");
      std::filesystem::create_directories(world.directory.path() + "/host");
    }
    world.start(false);
    ASSERT_TRUE(world.protect());
    ASSERT_TRUE(world.host->command(world.command(api::verb::failover))->status.ok());
    ASSERT_TRUE(world.until([&] { return world.is("StandingIn"); })) << world.host->state("p1").reason();
    EXPECT_FALSE(p1.primary.application_runs()) << "the fence was refused: " << p1.primary.orders().back();
    ASSERT_TRUE(world.host->command(world.command(api::verb::failback))->status.ok());
    ASSERT_TRUE(world.until([&] { return world.is("Monitoring") && p1.primary.application_runs(); }));
  }
  EXPECT_EQ(p1.primary.epoch(), 5u);
  EXPECT_FALSE(p1.primary.went_backwards());
}

}  // namespace
}  // namespace understudy::test
