// state.db: whatever sync point the power fails at, what was committed is there, whole, and nothing else is.

#include "agent-failover/store/state_store.hpp"

#include <fmt/core.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <fstream>
#include <sstream>

#include "common/sqlite/database.hpp"
#include "common/sqlite/sqlite_vfs.hpp"
#include "common/status/status_macros.hpp"
#include "common/status/status_text.hpp"
#include "tests/support/faulty_file_system.hpp"
#include "tests/support/temporary_directory.hpp"

namespace understudy::store {
namespace {

using testing::HasSubstr;

wall_time at(int second) {
  return wall_time(std::chrono::seconds(1'700'000'000 + second));
}

// Everything that one decision writes, so that half of it would show. Commit n is the n-th of its life.
changes decision(int n) {
  changes made;
  v1::ServerSpec spec;
  spec.set_name("p1");
  spec.set_etag(std::to_string(n));
  spec.set_local_dir(std::string(2000, 'x'));
  made.put_server = spec;
  made.machines = {{.server = "p1", .state = fmt::format("state {}", n), .since = at(n)},
                   {.server = "p2", .state = fmt::format("state {}", n), .since = at(n)}};
  made.intents = {{.server = "p1",
                   .epoch = static_cast<std::uint64_t>(n),
                   .step = fmt::format("step {}", n),
                   .ended = n % 2 == 0,
                   .outcome = n % 2 == 0 ? "ok" : ""}};
  made.freezes = {{.server = "p1",
                   .catalog = "a",
                   .page_size = 4096,
                   .pages = static_cast<std::uint32_t>(n),
                   .hash = {~std::uint64_t{0} - n, static_cast<std::uint64_t>(n)},
                   .durable_captured_at = at(n)},
                  {.server = "p1",
                   .catalog = "b",
                   .page_size = 512,
                   .pages = static_cast<std::uint32_t>(n),
                   .hash = {1, 2},
                   .durable_captured_at = at(n)}};
  v1::Event event;
  event.set_server("p1");
  event.set_text(fmt::format("event {}", n));
  made.events = {event, event};
  v1::LogLine line;
  line.set_text(fmt::format("line {}", n));
  made.log = {line};
  v1::Settings settings;
  settings.set_application_dir(fmt::format("/{}", n));
  made.settings = settings;
  made.boot_id = fmt::format("boot {}", n);
  return made;
}

// How many commits the store shows, and that each shows in every table.
int commits_in(state_store& store) {
  const std::string boot = store.boot_id().value();
  const int n = boot.empty() ? 0 : std::stoi(boot.substr(5));
  EXPECT_EQ(store.events("", 0, 1000).value().size(), static_cast<std::size_t>(2 * n));
  EXPECT_EQ(store.log(1000).value().size(), static_cast<std::size_t>(n));
  if (n == 0) {
    EXPECT_TRUE(store.servers().value().empty());
    EXPECT_TRUE(store.machines().value().empty());
    return 0;
  }
  const auto servers = store.servers().value();
  EXPECT_EQ(servers.size(), 1u);
  EXPECT_EQ(servers.front().etag(), std::to_string(n));
  EXPECT_EQ(store.settings().value().application_dir(), fmt::format("/{}", n));
  const auto machines = store.machines().value();
  EXPECT_EQ(machines.size(), 2u);
  for (const auto& row : machines) {
    EXPECT_EQ(row.state, fmt::format("state {}", n));
    EXPECT_EQ(row.since, at(n));
  }
  const auto intents = store.intents("p1", 1).value();
  EXPECT_EQ(intents.size(), 1u);
  EXPECT_EQ(intents.front().ended, n % 2 == 0);
  EXPECT_EQ(intents.front().step, fmt::format("step {}", n));
  EXPECT_EQ(intents.front().epoch, static_cast<std::uint64_t>(n));
  const auto freezes = store.freezes("p1").value();
  EXPECT_EQ(freezes.size(), 2u);
  for (const auto& row : freezes) EXPECT_EQ(row.pages, static_cast<std::uint32_t>(n));
  EXPECT_EQ(freezes.front().hash, (sqlite::page_hash{~std::uint64_t{0} - n, static_cast<std::uint64_t>(n)}));
  EXPECT_EQ(freezes.front().durable_captured_at, at(n));
  const auto events = store.events("p1", 0, 1000).value();
  for (std::size_t i = 0; i < events.size(); ++i) EXPECT_EQ(events[i].id(), i + 1);
  return n;
}

struct opened {
  std::unique_ptr<sqlite::file_system_vfs> vfs;
  absl::StatusOr<std::unique_ptr<state_store>> store = absl::UnknownError("");
};

opened open_in(os::file_system& fs, const std::string& directory) {
  static std::atomic<int> serial{0};
  opened result;
  result.vfs =
      sqlite::file_system_vfs::make(fmt::format("state-store-{}", ++serial), fs.open_root(directory).value())
          .value();
  result.store = state_store::open("state.db", result.vfs->name().c_str());
  return result;
}

// Commits until the power fails; returns the last one that returned ok.
int run(test::faulty_file_system& fs, const std::string& directory, int first, int last) {
  const opened state = open_in(fs, directory);
  if (!state.store.ok()) return first - 1;
  for (int n = first; n <= last; ++n) {
    changes made = decision(n);
    if (!(*state.store)->commit(made).ok()) return n - 1;
    EXPECT_EQ(made.events.back().id(), static_cast<std::uint64_t>(2 * n));
  }
  return last;
}

TEST(state_store, keeps_every_commit_whole_at_whatever_sync_point_the_power_fails) {
  constexpr int commits = 8;
  std::uint64_t sync_points = 0;
  {
    const test::temporary_directory real(test::where::memory);
    test::faulty_file_system fs(real.path());
    ASSERT_EQ(run(fs, real.path(), 1, commits), commits);
    sync_points = fs.sync_points();
  }
  ASSERT_GT(sync_points, static_cast<std::uint64_t>(commits));
  for (std::uint64_t cut = 1; cut <= sync_points; ++cut) {
    const test::temporary_directory real(test::where::memory);
    test::faulty_file_system fs(real.path());
    fs.cut_power_at(cut);
    const int returned = run(fs, real.path(), 1, commits);
    for (const auto policy :
         {test::unsynced::lost, test::unsynced::kept, test::unsynced::random, test::unsynced::torn}) {
      SCOPED_TRACE(fmt::format("cut at {}, policy {}", cut, static_cast<int>(policy)));
      const test::temporary_directory image(test::where::memory);
      ASSERT_TRUE(fs.materialise(image.path(), policy, cut).ok());
      const opened state = open_in(os::posix_file_system(), image.path());
      ASSERT_TRUE(state.store.ok()) << message_of(state.store.status());
      const int found = commits_in(**state.store);
      ASSERT_GE(found, returned);
      ASSERT_LE(found, returned + 1);
      // It goes on from there.
      changes next = decision(found + 1);
      ASSERT_TRUE((*state.store)->commit(next).ok());
      ASSERT_EQ(commits_in(**state.store), found + 1);
    }
  }
}

TEST(state_store, keeps_its_lock_and_the_history_of_a_server_that_was_removed) {
  const test::temporary_directory real;
  const opened state = open_in(os::posix_file_system(), real.path());
  ASSERT_TRUE(state.store.ok());
  changes first = decision(1);
  ASSERT_TRUE((*state.store)->commit(first).ok());
  {
    auto other = sqlite::database::open(real.path() + "/state.db", {.busy_timeout_ms = 0}).value();
    EXPECT_TRUE(absl::IsUnavailable(other.execute("DELETE FROM event"))) << "the lock is held for good";
  }
  EXPECT_EQ(commits_in(**state.store), 1);
  changes removal;
  removal.remove_server = "p1";
  ASSERT_TRUE((*state.store)->commit(removal).ok());
  EXPECT_TRUE((*state.store)->servers().value().empty());
  EXPECT_TRUE((*state.store)->freezes("p1").value().empty());
  EXPECT_EQ((*state.store)->machines().value().size(), 1u) << "of p2";
  EXPECT_EQ((*state.store)->events("p1", 0, 10).value().size(), 2u) << "history outlives a server";
}

TEST(state_store, hands_out_the_newest_events_after_a_cursor) {
  const test::temporary_directory real;
  const opened state = open_in(os::posix_file_system(), real.path());
  for (int n = 1; n <= 5; ++n) {
    changes made = decision(n);
    ASSERT_TRUE((*state.store)->commit(made).ok());
  }
  const auto newest = (*state.store)->events("", 0, 3).value();
  ASSERT_EQ(newest.size(), 3u);
  EXPECT_EQ(newest.front().id(), 8u);
  EXPECT_EQ(newest.back().id(), 10u);
  EXPECT_EQ((*state.store)->events("p1", 9, 100).value().size(), 1u);
  // Page by page, nobody misses any.
  const auto oldest = (*state.store)->events("", 2, 3, state_store::which::oldest).value();
  ASSERT_EQ(oldest.size(), 3u);
  EXPECT_EQ(oldest.front().id(), 3u);
  EXPECT_EQ(oldest.back().id(), 5u);
  EXPECT_TRUE((*state.store)->events("p2", 0, 100).value().empty());
}

std::string content_of(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path, std::ios::binary).rdbuf();
  return text.str();
}

TEST(state_store, refuses_a_newer_schema_and_leaves_it_alone) {
  const test::temporary_directory real;
  {
    const opened state = open_in(os::posix_file_system(), real.path());
    changes made = decision(1);
    ASSERT_TRUE((*state.store)->commit(made).ok());
  }
  {
    auto newer = sqlite::database::open(real.path() + "/state.db", {}).value();
    ASSERT_TRUE(newer.execute("PRAGMA user_version=999").ok());
  }
  const std::string before = content_of(real.path() + "/state.db");
  const opened state = open_in(os::posix_file_system(), real.path());
  ASSERT_EQ(state.store.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(message_of(state.store.status()), HasSubstr("newer version"));
  EXPECT_EQ(content_of(real.path() + "/state.db"), before);
}

TEST(state_store, refuses_garbage_and_leaves_it_alone) {
  for (const std::string& garbage : {std::string(8192, 'g'), std::string("not a database at all")}) {
    const test::temporary_directory real;
    std::ofstream(real.path() + "/state.db") << garbage;
    const opened state = open_in(os::posix_file_system(), real.path());
    ASSERT_EQ(state.store.status().code(), absl::StatusCode::kDataLoss) << message_of(state.store.status());
    EXPECT_THAT(message_of(state.store.status()), HasSubstr("state.db"));
    EXPECT_THAT(message_of(state.store.status()), HasSubstr("restore it from a backup"));
    EXPECT_EQ(content_of(real.path() + "/state.db"), garbage);
  }
}

TEST(state_store, refuses_somebody_elses_database_and_leaves_it_alone) {
  for (const char* version : {"0", "1"}) {
    const test::temporary_directory real;
    {
      auto other = sqlite::database::open(real.path() + "/state.db", {}).value();
      ASSERT_TRUE(other.execute(fmt::format("CREATE TABLE theirs(x); PRAGMA user_version={}", version)).ok());
    }
    const std::string before = content_of(real.path() + "/state.db");
    const opened state = open_in(os::posix_file_system(), real.path());
    ASSERT_EQ(state.store.status().code(), absl::StatusCode::kDataLoss);
    EXPECT_THAT(message_of(state.store.status()), HasSubstr("not one of understudyd"));
    EXPECT_EQ(content_of(real.path() + "/state.db"), before) << "not even its journal mode";
  }
}

TEST(state_store, a_record_that_cannot_be_read_is_an_error_not_an_empty_server) {
  const test::temporary_directory real;
  {
    const opened state = open_in(os::posix_file_system(), real.path());
    changes made = decision(1);
    ASSERT_TRUE((*state.store)->commit(made).ok());
  }
  {
    auto hand = sqlite::database::open(real.path() + "/state.db", {}).value();
    ASSERT_TRUE(hand.execute("UPDATE server SET spec=x'ff'").ok());
  }
  const opened state = open_in(os::posix_file_system(), real.path());
  ASSERT_TRUE(state.store.ok());
  EXPECT_TRUE(absl::IsDataLoss((*state.store)->servers().status()));
}

}  // namespace
}  // namespace understudy::store
