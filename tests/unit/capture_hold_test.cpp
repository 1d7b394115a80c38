// The opt-in hold: an application that opens and closes its database for each request keeps its log.

#include "tests/unit/capture_testing.hpp"

namespace understudy::capture_testing {
namespace {

struct CaptureHold : testing::Test {
  CaptureHold() { make_database(path); }

  temporary_directory directory;
  const std::string path = directory.file("app.db");
};

TEST_F(CaptureHold, KeepsTheLogOfShortConnections) {
  const std::uint64_t commits = soak() ? 20000 : 400;
  application app([&](shared_figures& figures) {
    figures.pause(1);
    for (std::uint64_t i = 1; i <= commits; ++i) {
      connection c(path);
      c.must("PRAGMA busy_timeout=0; PRAGMA synchronous=OFF; PRAGMA wal_autocheckpoint=100");
      c.must("INSERT INTO t(a, b) VALUES(" + std::to_string(i) + ", randomblob(300))");
      ++figures.commits;
      // The hold begins with a connection that is there when the capture looks.
      if (i == 1) figures.pause(2);
    }
    figures.pause(3);
  });
  ASSERT_TRUE(app.reached(1));
  auto engine = start_engine();
  mirror copy(engine->add(path));
  engine->hold(path, true);
  ASSERT_TRUE(copy.attach());
  app.proceed(1);
  ASSERT_TRUE(app.reached(2));
  ASSERT_TRUE(eventually([&] { return copy.drain(1ms) && copy.transactions() == 1; })) << copy.reason();
  app.proceed(2);
  struct ::stat first {};
  ASSERT_EQ(::stat((path + "-wal").c_str(), &first), 0);
  copy.follow([&] { return app.figures().stage >= 3; });
  EXPECT_EQ(copy.gaps(), 0u) << copy.all_reasons();
  EXPECT_EQ(copy.transactions(), commits);
  struct ::stat last {};
  ASSERT_EQ(::stat((path + "-wal").c_str(), &last), 0) << "the log was deleted";
  EXPECT_EQ(last.st_ino, first.st_ino);
  EXPECT_LT(last.st_size, 1000 * 4120) << "it never started over";
  EXPECT_GE(engine->metrics(path).resets, 3u);
  app.proceed(3);
  ASSERT_EQ(app.wait(), 0);

  // Let go: the next last connection closes as SQLite does.
  engine->hold(path, false);
  ASSERT_TRUE(eventually([&] {
    run_sql(path, "SELECT count(*) FROM t");
    return !std::filesystem::exists(path + "-wal");
  }));
  copy.follow([] { return true; });
  copy.expect_equals(path);
  copy.expect_consistent();
}

// After a while without a sign of life the database is free for whoever needs it alone; nothing is lost by
// that.
TEST_F(CaptureHold, LapsesWhenNobodyComes) {
  auto engine = start_engine();
  mirror copy(engine->add(path));
  engine->hold(path, true);
  ASSERT_TRUE(copy.attach());
  test::sqlite_shell app(path);
  ASSERT_TRUE(app.run("INSERT INTO t(a) VALUES(1)"));
  ASSERT_TRUE(eventually([&] { return copy.drain(1ms) && copy.transactions() == 1; })) << copy.reason();
  ASSERT_TRUE(app.close());
  ASSERT_TRUE(std::filesystem::exists(path + "-wal")) << "it was not held";
  const os::unique_fd database(::open(path.c_str(), O_RDWR | O_CLOEXEC));
  ASSERT_TRUE(eventually([&] {
    struct ::flock lock {};
    lock.l_type = F_WRLCK;
    lock.l_whence = SEEK_SET;
    lock.l_start = sqlite::db_pending_byte;
    lock.l_len = 2 + sqlite::db_shared_size;
    return ::fcntl(database.value(), F_OFD_GETLK, &lock) == 0 && lock.l_type == F_UNLCK;
  }));
  for (int i = 2; i <= 4; ++i) run_sql(path, "INSERT INTO t(a) VALUES(2)");
  ASSERT_TRUE(eventually([&] { return copy.drain(1ms) && copy.transactions() == 4; })) << copy.all_reasons();
  EXPECT_EQ(copy.gaps(), 0u);
  engine->hold(path, false);
  ASSERT_TRUE(eventually([&] {
    run_sql(path, "SELECT count(*) FROM t");
    return !std::filesystem::exists(path + "-wal");
  }));
  copy.follow([] { return true; });
  copy.expect_equals(path);
}

// A wal-index that nobody has open may be the remnant of a crash: it is not held, so that the next one
// rebuilds it.
TEST_F(CaptureHold, HoldsNoRemnant) {
  {
    test::sqlite_shell app(path);
    ASSERT_TRUE(app.run("INSERT INTO t(a) VALUES(1)"));
    app.kill();
  }
  auto engine = start_engine();
  mirror copy(engine->add(path));
  engine->hold(path, true);
  ASSERT_TRUE(copy.attach());
  const auto until = steady_clock::now() + 300ms;
  const os::unique_fd index(::open((path + "-shm").c_str(), O_RDONLY | O_CLOEXEC));
  while (steady_clock::now() < until) {
    struct ::flock lock {};
    lock.l_type = F_WRLCK;
    lock.l_whence = SEEK_SET;
    lock.l_start = sqlite::shm_lock_dms;
    lock.l_len = 1;
    ASSERT_EQ(::fcntl(index.value(), F_OFD_GETLK, &lock), 0);
    ASSERT_EQ(lock.l_type, F_UNLCK);
    copy.drain(1ms);
  }
  run_sql(path, "INSERT INTO t(a) VALUES(2)");
  copy.follow([] { return true; });
}

}  // namespace
}  // namespace understudy::capture_testing
