// The failover host killed at every record of a takeover and a failback, and after a power cut at every sync
// point of state.db during both: it always reaches the same end, and on the way never two run.

#include <fmt/core.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <thread>

#include "common/status/status_text.hpp"
#include "tests/support/faulty_file_system.hpp"
#include "tests/support/host/host_world.hpp"
#include "tests/support/wait.hpp"

namespace understudy::test {
namespace {

using testing::IsEmpty;

// How the host comes back after it was killed.
enum class comeback { restarted, rebooted };

// What follows a kill: what must be done before the next life begins.
using between_lives = std::function<void(host_world&)>;

// From a protected primary that dies to one that serves again, whatever happens to the host meanwhile. The
// operator asks for the failback until it is done.
void takeover_and_failback(host_world& world, comeback how, const between_lives& between = {}) {
  world_server& p1 = world.server();
  const auto until = [&](const std::function<bool()>& condition) {
    return world.until([&] {
      if (world.host->killed()) {
        world.stop();
        if (between) between(world);
        if (how == comeback::rebooted) p1.kill_stand_ins();
        world.start(how == comeback::rebooted);
        // Not faster than the line: a primary that could be told is told.
        wait_until([&] { return world.host->killed() || world.host->state("p1").agent_connected(); },
                   std::chrono::seconds{20});
      }
      return condition();
    });
  };
  p1.answers_pings = false;
  ASSERT_TRUE(until([&] { return world.is("StandingIn"); })) << world.host->state("p1").state();
  p1.answers_pings = true;
  const auto home = [&] { return world.is("Monitoring") && world.host->state("p1").epoch() >= 3; };
  std::string last;
  ASSERT_TRUE(until([&] {
    if (home()) return true;
    if (world.is("StandingIn") || world.is("StoodDown")) {
      api::command failback = world.command(api::verb::failback);
      const auto answer = world.host->command(failback, std::chrono::milliseconds{500});
      if (answer) last = std::string(message_of(answer->status));
    }
    return false;
  })) << world.host->state("p1").state()
      << ": " << world.host->state("p1").reason() << "; " << last << "; " << world.operation();
  // The same end, however it got there.
  ASSERT_TRUE(until([&] { return p1.primary.application_runs(); }));
  // In step again, but for a database that nobody has a copy of.
  ASSERT_TRUE(until([&] {
    return p1.spec.databases_size() > 1 || world.host->state("p1").status() == v1::SERVER_STATUS_OK;
  }));
  EXPECT_THAT(p1.stand_ins(), IsEmpty());
  EXPECT_TRUE(world.host->state("p1").is_protected());
  EXPECT_EQ(p1.primary.epoch(), world.host->state("p1").epoch());
  EXPECT_FALSE(p1.primary.owned_by_host());
  // The place is freed by an actor of its own.
  EXPECT_TRUE(until([&] { return world.host->host().standing_in_for().empty(); }));
  // What a stand-in committed is there, and nothing else.
  const int rows = std::stoi(run_sql(p1.primary.database(), "select count(*) from t where x = 'stand-in'"));
  EXPECT_GE(rows, p1.stand_in_rows());
  EXPECT_EQ(run_sql(p1.primary.database(), "select x from t where x <> 'stand-in'"), "primary");
  // So is the database that it made.
  const std::string made = std::filesystem::path(p1.primary.database()).replace_filename("made.db");
  ASSERT_TRUE(std::filesystem::exists(made) || p1.made_rows() == 0);
  if (p1.made_rows() > 0) {
    EXPECT_GE(std::stoi(run_sql(made, "select count(*) from t")), p1.made_rows());
  }
  EXPECT_THAT(world.violations(), IsEmpty());
}

// Runs every case on a few threads: most of the time each waits.
void for_each_case(int cases, const std::function<void(int)>& run) {
  std::atomic<int> next{1};
  std::vector<std::thread> threads;
  for (int n = 0; n < 4; ++n) {
    threads.emplace_back([&] {
      for (int one = next++; one <= cases && !testing::Test::HasFailure(); one = next++) run(one);
    });
  }
  for (auto& thread : threads) thread.join();
}

void killed_at_every_record(comeback how) {
  int records = 0;
  {
    host_world world;
    world.start(false);
    ASSERT_TRUE(world.protect());
    const int before = world.host->commits();
    takeover_and_failback(world, how);
    records = world.host->commits() - before;
  }
  ASSERT_GT(records, 20);
  for_each_case(records, [&](int record) {
    SCOPED_TRACE(fmt::format("killed after record {}", record));
    host_world world;
    world.start(false);
    ASSERT_TRUE(world.protect());
    world.host->kill_after(record);
    takeover_and_failback(world, how);
  });
  testing::Test::RecordProperty("records", records);
}

// A database was added that has no copy yet, and the stand-in makes one of its own: the way home is the same,
// and what it wrote is there.
TEST(host_restart, reaches_the_same_end_with_a_database_that_was_added) {
  const auto add = [](host_world& world) {
    world.start(false);
    ASSERT_TRUE(world.protect());
    world.stop();
    auto& added = *world.server().spec.add_databases();
    added.set_catalog("second");
    added.set_path(std::filesystem::path(world.server().primary.database()).replace_filename("second.db"));
    world.start(false);
    ASSERT_TRUE(world.until([&] { return world.host->state("p1").agent_connected(); }));
    ASSERT_TRUE(world.host->state("p1").is_protected());
  };
  int records = 0;
  {
    host_world world;
    add(world);
    const int before = world.host->commits();
    takeover_and_failback(world, comeback::restarted);
    records = world.host->commits() - before;
  }
  ASSERT_GT(records, 20);
  std::atomic<int> times_made{0};
  for_each_case(records, [&](int record) {
    SCOPED_TRACE(fmt::format("killed after record {}", record));
    host_world world;
    add(world);
    const std::string there = world.server().spec.databases(1).path();
    bool made = false;
    world.host->kill_after(record);
    takeover_and_failback(world, comeback::restarted, [&](host_world& dead) {
      if (made || dead.server().stand_ins().empty()) return;
      run_sql(dead.directory.path() + "/host/servers/p1/root" + there,
              "create table t(x); insert into t values(7)");
      made = true;
    });
    if (!made) return;
    ++times_made;
    EXPECT_EQ(run_sql(there, "select x from t"), "7");
  });
  EXPECT_GT(times_made, 3);
}

TEST(host_restart, reaches_the_same_end_when_the_daemon_is_killed_at_every_record) {
  killed_at_every_record(comeback::restarted);
}

TEST(host_restart, reaches_the_same_end_when_the_machine_is_reset_at_every_record) {
  killed_at_every_record(comeback::rebooted);
}

// state.db on a file system that loses power: the record that was being written is there or is not.
TEST(host_restart, reaches_the_same_end_after_a_power_cut_at_every_sync_point) {
  const auto scenario = [](std::uint64_t cut) -> std::uint64_t {
    host_world world;
    const temporary_directory state(where::memory);
    faulty_file_system fs(state.path());
    world.state_directory = state.path();
    world.state_file_system = &fs;
    world.start(false);
    if (!world.protect()) {
      ADD_FAILURE() << "no copy";
      return 0;
    }
    const std::uint64_t before = fs.sync_points();
    if (cut != 0) fs.cut_power_at(before + cut);
    std::vector<std::unique_ptr<temporary_directory>> images;
    takeover_and_failback(world, comeback::rebooted, [&](host_world& dead) {
      images.push_back(std::make_unique<temporary_directory>(where::memory));
      const auto policy = cut % 2 == 0 ? unsynced::lost : unsynced::torn;
      ASSERT_TRUE(fs.materialise(images.back()->path(), policy, cut).ok());
      dead.state_directory = images.back()->path();
      dead.state_file_system = nullptr;
    });
    const std::uint64_t points = fs.sync_points() - before;
    world.stop();
    return points;
  };
  const std::uint64_t points = scenario(0);
  ASSERT_GT(points, 20u);
  for_each_case(static_cast<int>(points), [&](int cut) {
    SCOPED_TRACE(fmt::format("power cut at sync point {}", cut));
    scenario(static_cast<std::uint64_t>(cut));
  });
}

}  // namespace
}  // namespace understudy::test
