// state.db through its VFS: whatever sync point the power fails at, what was committed is there.

#include "common/sqlite/sqlite_vfs.hpp"

#include <fmt/core.h>
#include <gtest/gtest.h>

#include <atomic>

#include "common/sqlite/database.hpp"
#include "common/status/status_macros.hpp"
#include "common/status/status_text.hpp"
#include "tests/support/faulty_file_system.hpp"
#include "tests/support/temporary_directory.hpp"

namespace understudy {
namespace {

absl::StatusOr<sqlite::database> open_state(const std::string& vfs) {
  UNDERSTUDY_ASSIGN_OR_RETURN(auto d, sqlite::database::open("state.db", {.vfs = vfs}));
  UNDERSTUDY_RETURN_IF_ERROR(
      d.execute("PRAGMA locking_mode=EXCLUSIVE; PRAGMA journal_mode=WAL;"
                "PRAGMA synchronous=FULL; PRAGMA wal_autocheckpoint=6;"
                "CREATE TABLE IF NOT EXISTS t(n INTEGER PRIMARY KEY, filler BLOB)"));
  return d;
}

// Commits rows 1, 2, ... until the power fails; returns the last one acknowledged.
std::int64_t run(test::faulty_file_system& fs, const std::string& directory, std::int64_t rows) {
  static std::atomic<int> serial{0};
  const auto vfs =
      sqlite::file_system_vfs::make(fmt::format("faulty-{}", ++serial), fs.open_root(directory).value())
          .value();
  std::int64_t acknowledged = 0;
  auto d = open_state(vfs->name());
  if (!d.ok()) return acknowledged;
  for (std::int64_t n = 1; n <= rows; ++n) {
    const auto commit = [&]() -> absl::Status {
      UNDERSTUDY_ASSIGN_OR_RETURN(auto t, sqlite::transaction::start(*d));
      UNDERSTUDY_ASSIGN_OR_RETURN(auto insert, d->prepare("INSERT INTO t VALUES(?, zeroblob(3000))"));
      UNDERSTUDY_RETURN_IF_ERROR(insert.bind(1, n).run());
      return t.commit();
    };
    if (!commit().ok()) return acknowledged;
    acknowledged = n;
  }
  return acknowledged;
}

TEST(state_database_vfs, commits_survive_a_power_cut_at_every_sync_point) {
  constexpr std::int64_t rows = 12;
  std::uint64_t sync_points = 0;
  {
    const test::temporary_directory real(test::where::memory);
    test::faulty_file_system fs(real.path());
    ASSERT_EQ(run(fs, real.path(), rows), rows);
    sync_points = fs.sync_points();
  }
  ASSERT_GT(sync_points, 20u);
  for (std::uint64_t cut = 1; cut <= sync_points; ++cut) {
    const test::temporary_directory real(test::where::memory);
    test::faulty_file_system fs(real.path());
    fs.cut_power_at(cut);
    const std::int64_t acknowledged = run(fs, real.path(), rows);
    for (const auto policy :
         {test::unsynced::lost, test::unsynced::kept, test::unsynced::random, test::unsynced::torn}) {
      const test::temporary_directory image(test::where::memory);
      ASSERT_TRUE(fs.materialise(image.path(), policy, cut).ok());
      SCOPED_TRACE(fmt::format("cut at {}, policy {}", cut, static_cast<int>(policy)));
      auto d = sqlite::database::open(image.path() + "/state.db", {}).value();
      auto check = d.prepare("PRAGMA integrity_check").value();
      ASSERT_TRUE(check.step().value());
      ASSERT_EQ(check.column_text(0), "ok");
      auto exists = d.prepare("SELECT count(*) FROM sqlite_master WHERE name='t'").value();
      ASSERT_TRUE(exists.step().value());
      if (exists.column_integer(0) == 0) {
        ASSERT_EQ(acknowledged, 0);
        continue;
      }
      auto count = d.prepare("SELECT count(*), ifnull(max(n), 0) FROM t").value();
      ASSERT_TRUE(count.step().value());
      ASSERT_EQ(count.column_integer(0), count.column_integer(1));
      ASSERT_GE(count.column_integer(0), acknowledged);
      ASSERT_LE(count.column_integer(0), acknowledged + 1);
    }
  }
}

TEST(state_database_vfs, translates_errors_and_keeps_others_out) {
  const test::temporary_directory real(test::where::memory);
  const auto vfs =
      sqlite::file_system_vfs::make("plain", os::posix_file_system().open_root(real.path()).value()).value();
  auto d = open_state(vfs->name()).value();
  EXPECT_TRUE(d.execute("INSERT INTO t VALUES(1, 'x')").ok());
  EXPECT_TRUE(absl::IsFailedPrecondition(d.execute("INSERT INTO t VALUES(1, 'y')")));
  EXPECT_FALSE(d.execute("nonsense").ok());
  EXPECT_TRUE(absl::IsNotFound(sqlite::database::open("no/such/state.db", {.vfs = "plain"}).status()));
  auto other = sqlite::database::open(real.path() + "/state.db", {.busy_timeout_ms = 0}).value();
  EXPECT_TRUE(absl::IsUnavailable(other.execute("INSERT INTO t VALUES(2, 'z')")));
  {
    auto t = sqlite::transaction::start(d).value();
    ASSERT_TRUE(d.execute("DELETE FROM t").ok());
  }
  auto count = d.prepare("SELECT count(*), 'a' || char(0) || 'b', 1.5, NULL FROM t").value();
  ASSERT_TRUE(count.step().value());
  EXPECT_EQ(count.column_integer(0), 1) << "a transaction that was not committed is rolled back";
  EXPECT_EQ(count.column_text(1).size(), 3u);
  EXPECT_EQ(count.column_real(2), 1.5);
  EXPECT_TRUE(count.column_is_null(3));
}

}  // namespace
}  // namespace understudy
