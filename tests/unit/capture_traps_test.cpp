// The traps of following a database that belongs to others, one test each.

#include "tests/unit/capture_testing.hpp"

namespace understudy::capture_testing {
namespace {

using phase = channel::source_state::phase;

std::uint64_t wal_size(const std::string& path) {
  struct ::stat status;
  return ::stat((path + "-wal").c_str(), &status) == 0 ? static_cast<std::uint64_t>(status.st_size) : 0;
}

bool wait_phase(const channel::database_source& source, phase wanted, std::chrono::milliseconds limit = 20s) {
  return eventually([&] { return source.state().now == wanted; }, limit);
}

// Runs `stages` one by one, each SQL over one connection that stays open.
class scripted {
 public:
  scripted(const std::string& path, std::vector<std::string> stages, const std::string& open = "")
      : app_(path), stages_(std::move(stages)), open_(open) {}
  void start() {
    ASSERT_TRUE(app_.run("PRAGMA wal_autocheckpoint=1000;" + open_ +
                         ";BEGIN; SELECT count(*) FROM sqlite_schema; COMMIT"));
  }
  void next() { ASSERT_TRUE(app_.run(stages_.at(done_++))); }
  void close() { ASSERT_TRUE(app_.close()); }
  void kill() { app_.kill(); }

 private:
  test::sqlite_shell app_;
  std::vector<std::string> stages_;
  std::string open_;
  std::size_t done_ = 0;
};

struct capture_test : testing::Test {
  temporary_directory directory;
  const std::string path = directory.file("app.db");
};
using CaptureTraps = capture_test;
using CaptureFiles = capture_test;

// T4, T5: a transaction that spilled its cache into the log and was rolled back was never committed, though
// its frames look valid; and a spilled page is rewritten in place, which changes the checksums of frames
// behind it.
TEST_F(CaptureTraps, NeverDeliversWhatWasRolledBack) {
  make_database(path);
  std::string rows =
      "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<3000) INSERT INTO t(a,b) SELECT ";
  scripted script(path,
                  {"BEGIN; " + rows + "'gone', randomblob(900) FROM n", "ROLLBACK",
                   "BEGIN; " + rows +
                       "'kept', randomblob(900) FROM n; UPDATE t SET b=randomblob(901) WHERE id%7=0; COMMIT",
                   "INSERT INTO t(a) VALUES('last')"},
                  "PRAGMA cache_size=10; PRAGMA cache_spill=1");
  auto engine = start_engine();
  script.start();
  mirror copy(engine->add(path));
  ASSERT_TRUE(copy.attach());
  script.next();
  EXPECT_GT(wal_size(path), 1u << 20) << "the transaction must have spilled for this test to mean anything";
  ASSERT_TRUE(copy.drain(100ms));
  script.next();
  ASSERT_TRUE(copy.drain(100ms));
  EXPECT_EQ(copy.transactions(), 0u);
  script.next();
  script.next();
  ASSERT_TRUE(eventually([&] { return copy.drain(10ms) && copy.transactions() == 2; }));
  script.close();
  ASSERT_TRUE(copy.drain(100ms));
  EXPECT_EQ(copy.transactions(), 2u);
  copy.expect_equals(path);
  copy.expect_consistent();
}

// T7: the application truncates its log after each commit, the size goes to zero and back.
TEST_F(CaptureTraps, FollowsTruncatingCheckpoints) {
  make_database(path);
  std::vector<std::string> stages;
  for (int i = 0; i < 40; ++i) {
    stages.push_back("INSERT INTO t(a) VALUES(" + std::to_string(i) + ")");
    stages.push_back(i % 2 ? "PRAGMA wal_checkpoint(TRUNCATE)" : "PRAGMA wal_checkpoint(RESTART)");
  }
  scripted script(path, stages);
  auto engine = start_engine();
  script.start();
  mirror copy(engine->add(path));
  ASSERT_TRUE(copy.attach());
  for (std::uint64_t i = 0; i < stages.size(); i += 2) {
    script.next();
    ASSERT_TRUE(eventually([&] { return copy.drain(1ms) && copy.transactions() == i / 2 + 1; }))
        << copy.reason();
    script.next();
  }
  script.close();
  ASSERT_TRUE(copy.drain(50ms)) << copy.reason();
  copy.expect_equals(path);
  EXPECT_GE(engine->metrics(path).resets, 39u);
}

// Sector padding (psow=0, synchronous=FULL): each commit may write its last frame several times.
TEST_F(CaptureTraps, CountsPaddedCommitsOnce) {
  for (const char* page_size : {"512", "4096"}) {
    const std::string file = directory.file(std::string("p") + page_size + ".db");
    make_database(file, std::string("PRAGMA page_size=") + page_size);
    application app([&](shared_figures& figures) {
      sqlite3* db = nullptr;
      const std::string uri = "file:" + file + "?psow=0";
      ::sqlite3_open_v2(uri.c_str(), &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_URI, nullptr);
      auto run = [&](const std::string& sql) {
        if (::sqlite3_exec(db, sql.c_str(), nullptr, nullptr, nullptr) != SQLITE_OK) ::_exit(71);
      };
      run("PRAGMA synchronous=FULL; PRAGMA wal_autocheckpoint=200; INSERT INTO t(a) VALUES('first')");
      figures.pause(1);
      for (int i = 0; i < 300; ++i) {
        run("UPDATE t SET b=randomblob(100) WHERE id=" + std::to_string(i % 10 + 1));
        ++figures.commits;
      }
      ::sqlite3_close(db);
    });
    auto engine = start_engine();
    ASSERT_TRUE(app.reached(1));
    mirror copy(engine->add(file));
    ASSERT_TRUE(copy.attach());
    app.proceed(1);
    copy.follow([&] { return app.finished(); });
    EXPECT_EQ(copy.gaps(), 0u) << copy.all_reasons();
    EXPECT_EQ(copy.transactions(), 300u);
    EXPECT_GE(engine->metrics(file).frames, 340u) << "no frame was repeated: psow=0 did nothing";
    copy.expect_equals(file);
  }
}

// Two transactions that write the same bytes are no padding.
TEST_F(CaptureTraps, FollowsTransactionsThatChangeNothing) {
  make_database(path);
  std::vector<std::string> stages;
  for (int i = 0; i < 20; ++i) stages.push_back("UPDATE t SET a=a WHERE id=1; UPDATE t SET a=a WHERE id=1");
  scripted script(path, stages,
                  "PRAGMA wal_autocheckpoint=3; UPDATE t SET a=a WHERE id=1; UPDATE t SET a=a WHERE id=1");
  auto engine = start_engine();
  script.start();
  mirror copy(engine->add(path));
  ASSERT_TRUE(copy.attach());
  for (std::size_t i = 0; i < stages.size(); ++i) {
    script.next();
    if (copy.drain(2ms)) continue;
    ASSERT_TRUE(copy.attach());
  }
  script.close();
  copy.follow([] { return true; });
  copy.expect_equals(path);
  copy.expect_consistent();
}

// T13: VACUUM rewrites and shrinks; growth brings pages that SQLite never logs (freed in the same
// transaction).
TEST_F(CaptureTraps, FollowsShrinkingAndGrowing) {
  make_database(path, "", 2000);
  const std::string grow =
      "BEGIN; CREATE TABLE x AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<2000) "
      "SELECT i, randomblob(800) FROM n; DROP TABLE x; INSERT INTO t(a) VALUES('end'); COMMIT";
  scripted script(path, {"DELETE FROM t WHERE id>20", "VACUUM", grow, "PRAGMA wal_checkpoint(RESTART)", grow,
                         "VACUUM", grow});
  auto engine = start_engine();
  script.start();
  mirror copy(engine->add(path));
  ASSERT_TRUE(copy.attach());
  std::size_t smallest = 1u << 30;
  std::size_t largest = 0;
  for (int i = 0; i < 7; ++i) {
    script.next();
    ASSERT_TRUE(copy.drain(60ms)) << copy.reason();
    smallest = std::min(smallest, copy.pages());
    largest = std::max(largest, copy.pages());
    copy.expect_consistent();
  }
  script.close();
  ASSERT_TRUE(copy.drain(60ms));
  EXPECT_LT(smallest, 10u);
  EXPECT_GT(largest, 300u);
  copy.expect_equals(path);
  copy.expect_consistent();
}

// T8: the last connection deletes the log; what it held is read from the held descriptor.
TEST_F(CaptureTraps, ReadsTheLogThatTheLastConnectionDeletes) {
  make_database(path);
  application app([&](shared_figures& figures) {
    for (std::uint64_t round = 1; round <= 30; ++round) {
      figures.pause(round);
      connection c(path);
      c.must("INSERT INTO t(a) VALUES(1); INSERT INTO t(a) VALUES(2)");
    }
    figures.pause(31);
  });
  auto engine = start_engine();
  mirror copy(engine->add(path));
  ASSERT_TRUE(copy.attach());
  // A log may live too briefly to be opened; that is noticed and healed, and rare.
  int unseen = 0;
  for (std::uint64_t round = 1; round <= 30; ++round) {
    const std::uint64_t both = copy.transactions() + 2;
    app.proceed(round);
    ASSERT_TRUE(app.reached(round + 1));
    ASSERT_TRUE(
        eventually([&] { return !copy.attached() || !copy.drain(1ms) || copy.transactions() == both; }));
    if (copy.attached()) continue;
    ++unseen;
    ASSERT_TRUE(copy.attach()) << copy.reason();
  }
  copy.drain(50ms);
  copy.expect_equals(path);
  EXPECT_LE(unseen, 6);
}

// Connections that only read make and delete logs, too; nothing changed, so nothing is lost.
TEST_F(CaptureTraps, ReadOnlyConnectionsAreNoGap) {
  make_database(path);
  auto engine = start_engine();
  mirror copy(engine->add(path));
  ASSERT_TRUE(copy.attach());
  std::string statements;
  for (int i = 0; i < 100; ++i) statements += ".open " + path + "\nSELECT count(*) FROM t;\n";
  run_sql(path, statements);
  ASSERT_TRUE(copy.drain(100ms)) << copy.reason();
  EXPECT_EQ(engine->metrics(path).gaps, 0u);
  EXPECT_EQ(engine->metrics(path).scans, 1u);
}

// T17: the application is killed; a later one recovers the log, and iChange counts anew.
TEST_F(CaptureTraps, FollowsThroughACrashOfTheApplication) {
  make_database(path);
  auto engine = start_engine();
  mirror copy(engine->add(path));
  std::uint64_t expected = 0;
  ASSERT_TRUE(copy.attach());
  for (int round = 0; round < 5; ++round) {
    scripted script(path, {"INSERT INTO t(a) VALUES('a')",
                           "INSERT INTO t(a) VALUES('b'); BEGIN; INSERT INTO t(a) VALUES('lost')"});
    script.start();
    script.next();
    script.next();
    expected += 2;
    script.kill();
    ASSERT_TRUE(eventually([&] { return copy.drain(1ms) && copy.transactions() == expected; }))
        << copy.reason();
  }
  run_sql(path, "INSERT INTO t(a) VALUES('end')");
  ASSERT_TRUE(eventually([&] { return copy.drain(10ms) && copy.transactions() == expected + 1; }))
      << copy.reason();
  copy.expect_equals(path);
  EXPECT_EQ(engine->metrics(path).gaps, 0u);
}

// A hot log that nobody has open, met at the start: the image is what recovery would make of it.
TEST_F(CaptureTraps, ReadsTheLogOfACrashedApplication) {
  make_database(path);
  {
    scripted script(path, {"INSERT INTO t(a) VALUES('a')", "BEGIN; INSERT INTO t(a) VALUES('lost')"});
    script.start();
    script.next();
    script.next();
    script.kill();
  }
  for (const bool with_index : {true, false}) {
    if (!with_index) std::filesystem::remove(path + "-shm");
    const auto before = std::filesystem::last_write_time(path + "-wal");
    auto engine = start_engine();
    mirror copy(engine->add(path));
    ASSERT_TRUE(copy.attach());
    EXPECT_EQ(std::filesystem::exists(path + "-shm"), with_index) << "T18: the capture creates nothing";
    EXPECT_EQ(std::filesystem::last_write_time(path + "-wal"), before);
    if (with_index) continue;
    run_sql(path, "PRAGMA wal_checkpoint(TRUNCATE)");
    copy.follow([] { return true; });
    copy.expect_equals(path);
  }
}

// T16: replaced, removed, restored.
TEST_F(CaptureFiles, FollowsAReplacedFile) {
  make_database(path);
  const std::string other = directory.file("other.db");
  make_database(other, "PRAGMA page_size=1024", 500);
  auto engine = start_engine();
  auto source = engine->add(path);
  mirror copy(source);
  ASSERT_TRUE(copy.attach());
  std::filesystem::rename(other, path);
  ASSERT_TRUE(eventually([&] { return !copy.drain(1ms); }));
  EXPECT_THAT(copy.reason(), testing::HasSubstr("replaced"));
  mirror second(source);
  ASSERT_TRUE(second.attach());
  EXPECT_EQ(source->state().page_size, 1024u);
  second.expect_equals(path);

  std::filesystem::remove(path);
  ASSERT_TRUE(wait_phase(*source, phase::absent));
  EXPECT_FALSE(source->subscribe().ok());
  make_database(path, "", 50);
  mirror third(source);
  ASSERT_TRUE(third.attach());
  third.expect_equals(path);
}

// A restore that copies over the file in place, while no log exists.
TEST_F(CaptureFiles, NoticesAFileWrittenInPlace) {
  make_database(path);
  make_database(directory.file("other.db"), "", 300);
  auto engine = start_engine();
  auto source = engine->add(path);
  mirror copy(source);
  ASSERT_TRUE(copy.attach());
  {
    std::ifstream in(directory.file("other.db"), std::ios::binary);
    std::ofstream out(path, std::ios::binary | std::ios::in | std::ios::out);
    out << in.rdbuf();
  }
  ASSERT_TRUE(eventually([&] { return !copy.drain(1ms); }));
  copy.follow([] { return true; });
  copy.expect_equals(path);
  copy.expect_consistent();
}

TEST_F(CaptureFiles, WaitsForADatabaseThatDoesNotExistYet) {
  auto engine = start_engine();
  auto source = engine->add(path);
  ASSERT_TRUE(eventually([&] { return !source->state().reason.empty(); }));
  EXPECT_EQ(source->state().now, phase::absent);
  make_database(path);
  mirror copy(source);
  ASSERT_TRUE(copy.attach());
  copy.expect_equals(path);
}

TEST_F(CaptureFiles, RefusesWhatIsNoDatabase) {
  std::ofstream(path) << std::string(5000, 'x');
  auto engine = start_engine();
  auto source = engine->add(path);
  ASSERT_TRUE(wait_phase(*source, phase::refused));
  EXPECT_THAT(source->state().reason, testing::HasSubstr("not a SQLite database"));
}

// T15: with locking_mode=EXCLUSIVE there is no wal-index to read.
TEST_F(CaptureTraps, RefusesExclusiveLocking) {
  make_database(path);
  application app([&](shared_figures& figures) {
    connection c(path);
    c.must("PRAGMA locking_mode=EXCLUSIVE; INSERT INTO t(a) VALUES(1)");
    figures.pause(1);
  });
  ASSERT_TRUE(app.reached(1));
  auto engine = start_engine();
  auto source = engine->add(path);
  ASSERT_TRUE(wait_phase(*source, phase::refused));
  EXPECT_THAT(source->state().reason, testing::HasSubstr("locking_mode"));
  app.proceed(1);
  ASSERT_EQ(app.wait(), 0);
  mirror copy(source);
  ASSERT_TRUE(copy.attach());
  copy.expect_equals(path);
}

// A reader that is too slow gets a gap, and memory stays bounded; the capture itself goes on.
TEST_F(CaptureTraps, ASlowReceiverGetsAGap) {
  make_database(path);
  scripted script(
      path, {"INSERT INTO t(b) VALUES(zeroblob(3000000))", "INSERT INTO t(b) VALUES(zeroblob(1000))",
             "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<300) INSERT INTO t(b) "
             "SELECT zeroblob(900) FROM n"});
  capture::capture_options options;
  options.queue_limit_bytes = 1 << 20;
  auto engine = start_engine(options);
  script.start();
  auto source = engine->add(path);
  mirror copy(source);
  ASSERT_TRUE(copy.attach());
  script.next();
  ASSERT_TRUE(eventually([&] { return !copy.drain(1ms); }));
  EXPECT_THAT(copy.reason(), testing::HasSubstr("does not fit the queue"));
  ASSERT_TRUE(copy.attach());
  EXPECT_GT(copy.healed_pages(), 700u);
  script.next();
  script.next();
  script.close();
  copy.follow([] { return true; });
  copy.expect_equals(path);
  EXPECT_EQ(engine->metrics(path).gaps, 0u) << "the capture itself lost nothing";
}

// T2, T7: while the capture runs, the application's truncating checkpoints do not wait for it.
TEST_F(CaptureTraps, HoldsNoPinWhileItKeepsUp) {
  make_database(path);
  auto engine = start_engine();
  mirror copy(engine->add(path));
  ASSERT_TRUE(copy.attach());
  scripted script(path, {"INSERT INTO t(a) VALUES(1)"});
  script.start();
  script.next();
  test::sqlite_shell other(path);
  for (int i = 0; i < 100; ++i) {
    ASSERT_EQ(other.run("INSERT INTO t(a) VALUES(1); PRAGMA wal_checkpoint(TRUNCATE)"), "0|0|0\n")
        << "busy|frames|moved";
  }
  ASSERT_TRUE(other.close());
  script.close();
  copy.follow([] { return true; });
  copy.expect_equals(path);
}

// The application may leave WAL mode and come back.
TEST_F(CaptureTraps, FollowsAChangeOfJournalMode) {
  make_database(path);
  auto engine = start_engine();
  auto source = engine->add(path);
  mirror copy(source);
  ASSERT_TRUE(copy.attach());
  run_sql(path, "PRAGMA journal_mode=DELETE; PRAGMA page_size=8192; VACUUM; PRAGMA journal_mode=WAL");
  copy.follow([&] { return copy.equals(path); });  // one conversion at a time may be seen on the way
  EXPECT_EQ(source->state().page_size, 8192u);
  copy.expect_equals(path);
}

// T14: the page at 1 GiB is never data. The file is sparse, so this costs no disk.
TEST_F(CaptureTraps, SkipsTheLockPage) {
  make_database(path, "PRAGMA page_size=65536");
  constexpr std::uint32_t pages = 16500;
  {
    std::fstream file(path, std::ios::binary | std::ios::in | std::ios::out);
    file.seekp(28);
    const char big_endian[4] = {0, 0, static_cast<char>(pages >> 8), static_cast<char>(pages & 0xff)};
    file.write(big_endian, 4);
  }
  std::filesystem::resize_file(path, std::uint64_t{pages} * 65536);
  auto engine = start_engine();
  auto source = engine->add(path);
  ASSERT_TRUE(wait_phase(*source, phase::ready));
  const std::uint32_t skipped = sqlite::lock_page(65536);
  ASSERT_GT(source->state().database_pages, skipped);
  EXPECT_EQ(source->hashes(skipped, 1).at(0), sqlite::page_hash{});
  EXPECT_NE(source->hashes(skipped + 1, 1).at(0), sqlite::page_hash{});
  EXPECT_EQ(source->read_page(skipped)->bytes, std::string(65536, '\0'));
}

// The mirror's own check is checked: one altered bit must be found.
TEST_F(CaptureTraps, TheMirrorFindsAnAlteredPage) {
  make_database(path);
  auto engine = start_engine();
  auto source = engine->add(path);
  mirror copy(source);
  ASSERT_TRUE(copy.attach());
  copy.corrupt(2);
  copy.detach();
  ASSERT_TRUE(copy.attach());
  EXPECT_EQ(copy.healed_pages(), 1u);
  copy.expect_equals(path);
}

TEST_F(CaptureFiles, RemovingADatabaseClosesItsSubscriptions) {
  make_database(path);
  auto engine = start_engine();
  auto source = engine->add(path);
  EXPECT_EQ(engine->add(path), source);
  mirror copy(source);
  ASSERT_TRUE(copy.attach());
  std::atomic<int> calls{0};
  copy.subscription().set_ready_callback([&] { ++calls; });
  engine->remove(path);
  ASSERT_TRUE(eventually([&] { return calls > 0; }));
  EXPECT_FALSE(copy.drain(1s));
  EXPECT_EQ(copy.last_event(), channel::source_event::kind::closed);
  EXPECT_EQ(source->state().now, phase::refused);
  engine.reset();
  EXPECT_FALSE(source->subscribe().ok());
}

// What a drain rests on: a look that began after the question has found, and delivered, what was committed
// before.
TEST_F(CaptureTraps, ALookThatWasAskedForFindsEverything) {
  make_database(path);
  auto engine = start_engine();
  const auto source = engine->add(path);
  mirror copy(source);
  ASSERT_TRUE(copy.attach());
  for (int round = 0; round < 20; ++round) {
    run_sql(path, "INSERT INTO t(a, b) VALUES(1, randomblob(300))");
    const auto asked = steady_clock::now();
    ASSERT_TRUE(eventually([&] { return source->looked_since(asked); }));
    if (!copy.drain(0ms)) {
      ASSERT_TRUE(copy.attach()) << "a log that lived too briefly is a gap";
    }
    copy.expect_equals(path);
  }
}

}  // namespace
}  // namespace understudy::capture_testing
