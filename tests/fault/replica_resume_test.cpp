// A heal that is cut off goes on where it was: at the end of the line, of either daemon, with a database that
// changes meanwhile. What was brought once is not brought again, and counts for nothing before all of it is
// there.

#include <fmt/core.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <thread>

#include "agent-failover/replica/database_copy.hpp"
#include "agent-primary/capture/capture_engine.hpp"
#include "common/channel/sink_session.hpp"
#include "common/channel/source_session.hpp"
#include "common/os/file_system.hpp"
#include "common/status/status_text.hpp"
#include "tests/support/sqlite_shell.hpp"
#include "tests/support/temporary_directory.hpp"

namespace understudy {
namespace {

using channel::database_progress;
using channel::now;
using replica::database_copy;
using std::chrono::steady_clock;

constexpr int row_bytes = 4000;  // with its overhead a page of 4 KiB
constexpr int rows = 72 * 256;   // 72 MiB
constexpr double of_all = 0.02;  // of the whole, that a resumed heal may send beside the rest
constexpr std::uint64_t no_limit = ~0ull;

struct pair_of_ends : testing::Test {
  test::temporary_directory primary{test::where::memory};
  test::temporary_directory host{test::where::memory};
  const std::string path = primary.path() + "/app.db";
  const std::string place = host.path() + "/app.db";
  const std::string unfinished = place + "-unfinished";
  std::unique_ptr<capture::capture_engine> agent;
  std::shared_ptr<channel::database_source> source;
  std::unique_ptr<database_copy> copy;
  database_progress last;  // of the receiver

  void SetUp() override {
    ASSERT_TRUE(
        sql(fmt::format("PRAGMA journal_mode=WAL; CREATE TABLE t(id INTEGER PRIMARY KEY, b BLOB); "
                        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {}) "
                        "INSERT INTO t SELECT i, randomblob({}) FROM n;",
                        rows, row_bytes)));
    start_agent();
    open_copy();
  }
  bool sql(const std::string& text) const { return test::through_sqlite(path, text).has_value(); }
  void start_agent() {
    source.reset();
    agent.reset();
    auto engine = capture::capture_engine::start();
    ASSERT_TRUE(engine.ok()) << message_of(engine.status());
    agent = *std::move(engine);
    source = agent->add(path);
  }
  void open_copy() {
    copy.reset();
    auto opened = database_copy::open(os::posix_file_system().open_root(host.path()).value(), "app.db");
    ASSERT_TRUE(opened.ok()) << message_of(opened.status());
    copy = *std::move(opened);
  }

  // Bytes that the source sent until it streams, or until it sent `limit`: then the line is cut, and with
  // `killed` the host's daemon gone with what it had not written.
  std::uint64_t feed(std::uint64_t limit = no_limit, bool killed = false) {
    channel::source_session sender{*source, {}};
    channel::sink_session receiver{*copy};
    EXPECT_TRUE(receiver.start(now()).ok());
    std::uint64_t sent = 0;
    const auto deadline = steady_clock::now() + std::chrono::seconds(60);
    while (receiver.progress().now != database_progress::phase::streaming && sent < limit) {
      if (steady_clock::now() > deadline) {
        ADD_FAILURE() << "not in step: " << receiver.progress().reason;
        break;
      }
      while (auto up = receiver.next()) EXPECT_TRUE(sender.receive(*up, now()).ok());
      const auto down = sender.next(now());
      if (!down.ok()) {
        ADD_FAILURE() << message_of(down.status());
        break;
      }
      if (!*down) {
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
        continue;
      }
      sent += (*down)->ByteSizeLong();
      const absl::Status taken = receiver.receive(**down, now());
      EXPECT_TRUE(taken.ok()) << message_of(taken);
      last = receiver.progress();
    }
    if (killed) {
      open_copy();
    } else {
      EXPECT_TRUE(receiver.finish(now()).ok());
    }
    return sent;
  }
  void expect_equal() {
    EXPECT_EQ(copy->state().combined, source->state().combined);
    EXPECT_FALSE(std::filesystem::exists(unfinished));
    ASSERT_TRUE(copy->prepare_for_stand_in().ok());
    EXPECT_THAT(test::through_sqlite(place, "PRAGMA quick_check; SELECT count(*) FROM t").value_or(""),
                testing::StartsWith(fmt::format("ok\n{}", rows)));
    ASSERT_TRUE(copy->resume().ok());
  }
  static std::uint64_t rest(std::uint64_t whole, std::uint64_t brought) {
    return whole - std::min(whole, brought) + static_cast<std::uint64_t>(of_all * static_cast<double>(whole));
  }
};

class replica_resume : public pair_of_ends {};

TEST_F(replica_resume, a_first_copy_goes_on_after_a_cut_at_any_place) {
  const std::uint64_t whole = feed();
  for (const double at : {0.1, 0.5, 0.9}) {
    for (const char* what : {"line", "host", "agent", "changed"}) {
      SCOPED_TRACE(fmt::format("{} at {}", what, at));
      copy.reset();
      std::filesystem::remove_all(host.path());
      std::filesystem::create_directory(host.path());
      open_copy();
      const std::string kind = what;
      const std::uint64_t brought =
          feed(static_cast<std::uint64_t>(at * static_cast<double>(whole)), kind == "host");
      EXPECT_FALSE(copy->state().exists) << "nothing of it counts";
      EXPECT_FALSE(std::filesystem::exists(place));
      EXPECT_TRUE(std::filesystem::exists(unfinished));
      std::uint64_t changed = 0;
      if (kind == "agent") start_agent();
      if (kind == "changed") {
        ASSERT_TRUE(sql("UPDATE t SET b = randomblob(4000) WHERE id % 50 = 3"));
        start_agent();
        changed = 2 * 4200ull * rows / 50;  // at most both: its row, and the table's own pages
      }
      const std::uint64_t more = feed();
      EXPECT_LE(more, rest(whole, brought) + changed);
      fmt::print(
          "{} cut at {:.0f} %: {:.2f} of {:.2f} MiB, then {:.2f} ({:+.2f} % of the whole beside the rest)\n",
          what, at * 100, static_cast<double>(brought) / 1048576, static_cast<double>(whole) / 1048576,
          static_cast<double>(more) / 1048576,
          (static_cast<double>(more + brought) / static_cast<double>(whole) - 1) * 100);
      EXPECT_GE(last.total_bytes, whole * 9 / 10) << "what was there counts as done";
      expect_equal();
    }
  }
}

// Also of a copy that is there: which is what it was until the heal is whole, whether it then goes through
// the -wal (little) or into a new file (much).
TEST_F(replica_resume, a_heal_goes_on_after_a_cut) {
  feed();
  for (const int share : {8, 2}) {
    for (const bool killed : {false, true}) {
      SCOPED_TRACE(fmt::format("1/{} of the pages, killed {}", share, killed));
      const auto before = copy->state();
      ASSERT_TRUE(sql(fmt::format("UPDATE t SET b = randomblob(4000) WHERE id % {} = 1", share)));
      start_agent();
      const std::uint64_t whole = rows / share * 4100ull;
      const std::uint64_t brought = feed(whole / 2, killed);
      EXPECT_EQ(copy->state().combined, before.combined);
      EXPECT_TRUE(std::filesystem::exists(unfinished));
      EXPECT_LE(feed(), rest(whole, brought) + whole / 50);
      expect_equal();
    }
  }
}

// They cannot be told from pages that never came, and so are brought again: nothing else is.
TEST_F(replica_resume, pages_of_zeros_are_brought_again) {
  constexpr int freed = rows / 4;
  ASSERT_TRUE(sql(fmt::format("PRAGMA secure_delete=ON; DELETE FROM t WHERE id <= {}", freed)));
  start_agent();
  const std::uint64_t whole = feed();
  for (const bool killed : {false, true}) {
    copy.reset();
    std::filesystem::remove_all(host.path());
    std::filesystem::create_directory(host.path());
    open_copy();
    const std::uint64_t brought = feed(whole / 4 * 3, killed);
    ASSERT_TRUE(std::filesystem::exists(unfinished));
    const std::uint64_t more = feed();
    EXPECT_LE(more, rest(whole, brought) + freed * 4200ull);
    EXPECT_EQ(copy->state().combined, source->state().combined);
    EXPECT_FALSE(std::filesystem::exists(unfinished));
    ASSERT_TRUE(copy->prepare_for_stand_in().ok());
    EXPECT_THAT(test::through_sqlite(place, "PRAGMA integrity_check; SELECT count(*) FROM t").value_or(""),
                testing::StartsWith(fmt::format("ok\n{}", rows - freed)));
    ASSERT_TRUE(copy->resume().ok());
    fmt::print("killed {}: {:.1f} of {:.1f} MiB, then {:.1f}\n", killed,
               static_cast<double>(brought) / 1048576, static_cast<double>(whole) / 1048576,
               static_cast<double>(more) / 1048576);
  }
}

TEST_F(replica_resume, nothing_is_left_where_it_is_not_wanted_any_more) {
  feed(30 << 20);
  ASSERT_TRUE(std::filesystem::exists(unfinished));
  // Garbage in it is brought again; a file that is all garbage is begun anew.
  copy.reset();
  {
    std::fstream file(unfinished, std::ios::binary | std::ios::in | std::ios::out);
    for (int page = 100; page < 200; ++page) {
      file.seekp(page * 4096 + 17);
      file << "torn";
    }
  }
  open_copy();
  const std::uint64_t more = feed();
  EXPECT_GT(more, 40u << 20);
  EXPECT_LT(more, 48u << 20);
  expect_equal();
  // Handed over: what the stand-in writes is newer.
  ASSERT_TRUE(sql("UPDATE t SET b = randomblob(4000)"));
  start_agent();
  feed(20 << 20);
  ASSERT_TRUE(std::filesystem::exists(unfinished));
  ASSERT_TRUE(copy->prepare_for_stand_in().ok());
  EXPECT_FALSE(std::filesystem::exists(unfinished));
  ASSERT_TRUE(copy->resume().ok());
  // Another page size: what was brought is of no use.
  feed(20 << 20);
  ASSERT_TRUE(sql("PRAGMA journal_mode=DELETE; PRAGMA page_size=8192; VACUUM; PRAGMA journal_mode=WAL"));
  start_agent();
  feed();
  expect_equal();
  copy.reset();
  std::ofstream(unfinished) << std::string(50000, 'x');
  open_copy();
  EXPECT_EQ(copy->state().combined, source->state().combined);
  EXPECT_GE(feed(), 0u);
  expect_equal();
}

}  // namespace
}  // namespace understudy
