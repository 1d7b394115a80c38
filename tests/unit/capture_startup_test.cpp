// A capture that begins, or scans again, while the application opens and closes its database.

#include "tests/unit/capture_testing.hpp"

namespace understudy::capture_testing {
namespace {

using phase = channel::source_state::phase;

// The application is met at any moment of opening, committing and closing, after which it stays closed: no
// event comes to the aid of a capture that misjudged what it met.
TEST(CaptureStartup, BecomesReadyWhateverTheApplicationIsJustDoing) {
  temporary_directory directory;
  const std::string path = directory.file("app.db");
  make_database(path);
  const std::uint64_t rounds = soak() ? 5000 : 150;
  application app([&](shared_figures& figures) {
    for (std::uint64_t round = 1; round <= rounds; ++round) {
      figures.pause(round);
      for (int i = 0; i < 3; ++i) {
        connection c(path);
        c.must(
            "PRAGMA synchronous=OFF; PRAGMA busy_timeout=5000; INSERT INTO t(a, b) VALUES(1, "
            "randomblob(300))");
      }
    }
    figures.pause(rounds + 1);
  });
  auto engine = start_engine();
  std::mt19937 random(20261122);
  for (std::uint64_t round = 1; round <= rounds; ++round) {
    ASSERT_TRUE(app.reached(round));
    app.proceed(round);
    const auto begin = steady_clock::now() + std::chrono::microseconds(random() % 3000);
    while (steady_clock::now() < begin) {
    }
    auto source = engine->add(path);
    ASSERT_TRUE(eventually([&] { return source->state().now == phase::ready; }, 5s))
        << "round " << round << ": " << static_cast<int>(source->state().now) << " "
        << source->state().reason;
    ASSERT_TRUE(app.reached(round + 1));
    mirror copy(source);
    ASSERT_TRUE(copy.attach());
    copy.follow([] { return true; });
    copy.expect_equals(path);
    copy.expect_consistent();
    ASSERT_FALSE(testing::Test::HasFailure()) << "round " << round;
    engine->remove(path);
  }
}

// The same, killed at any moment, and started again by somebody.
TEST(CaptureStartup, BecomesReadyWhereverTheApplicationWasKilled) {
  temporary_directory directory;
  const std::string path = directory.file("app.db");
  make_database(path);
  const int rounds = soak() ? 2000 : 25;
  std::mt19937 random(20261122);
  for (int round = 0; round < rounds; ++round) {
    application app([&](shared_figures& figures) {
      figures.pause(1);
      for (;;) {
        connection c(path);
        c.must(
            "PRAGMA synchronous=OFF; PRAGMA busy_timeout=5000; INSERT INTO t(a, b) VALUES(1, "
            "randomblob(300))");
      }
    });
    ASSERT_TRUE(app.reached(1));
    app.proceed(1);
    auto engine = start_engine();
    std::this_thread::sleep_for(std::chrono::microseconds(random() % 3000));
    auto source = engine->add(path);
    std::this_thread::sleep_for(std::chrono::microseconds(random() % 3000));
    app.kill();
    ASSERT_TRUE(eventually([&] { return source->state().now == phase::ready; }, 5s))
        << "round " << round << ": " << static_cast<int>(source->state().now) << " "
        << source->state().reason;
    mirror copy(source);
    ASSERT_TRUE(copy.attach());
    run_sql(path, "SELECT count(*) FROM t");
    copy.follow([] { return true; });
    copy.expect_equals(path);
    copy.expect_consistent();
    ASSERT_FALSE(testing::Test::HasFailure()) << "round " << round;
  }
}

// Somebody has the wal-index open and nobody rebuilds it: until a connection has, the log alone says what is
// committed.
TEST(CaptureStartup, DoesNotWaitForAnIndexThatNobodyRebuilds) {
  temporary_directory directory;
  const std::string path = directory.file("app.db");
  make_database(path);
  {
    test::sqlite_shell app(path);
    ASSERT_TRUE(app.run("INSERT INTO t(a) VALUES('committed'); BEGIN; INSERT INTO t(a) VALUES('lost')"));
    app.kill();
  }
  const os::unique_fd index(::open((path + "-shm").c_str(), O_RDWR | O_CLOEXEC));
  struct ::flock held {};
  held.l_type = F_RDLCK;
  held.l_whence = SEEK_SET;
  held.l_start = sqlite::shm_lock_dms;
  held.l_len = 1;
  ASSERT_EQ(::fcntl(index.value(), F_OFD_SETLK, &held), 0);
  const char nothing[2 * sqlite::wal_index_header_bytes] = {};
  ASSERT_EQ(::pwrite(index.value(), nothing, sizeof nothing, 0), static_cast<ssize_t>(sizeof nothing));
  auto engine = start_engine();
  auto source = engine->add(path);
  mirror copy(source);
  ASSERT_TRUE(copy.attach(5s)) << source->state().reason;
  EXPECT_GE(engine->metrics(path).commits, 1u) << "the log was not read";
  for (int i = 0; i < 5; ++i) run_sql(path, "INSERT INTO t(a) VALUES('more')");
  copy.follow([] { return true; });
  EXPECT_EQ(copy.transactions(), 5u) << copy.all_reasons();
  run_sql(path, "PRAGMA wal_checkpoint(TRUNCATE)");
  copy.follow([] { return true; });
  copy.expect_equals(path);
  copy.expect_consistent();
}

// One glance at the moment of a last close looks as if the application kept its wal-index to itself; two such
// glances, however far apart, are no locking_mode=EXCLUSIVE.
TEST(CaptureStartup, TwoGlancesAtAClosingConnectionAreNoExclusiveLock) {
  temporary_directory directory;
  const std::string path = directory.file("app.db");
  make_database(path);
  capture::capture_options options;
  options.safety_poll = 20ms;
  auto engine = start_engine(options);
  auto source = engine->add(path);
  mirror copy(source);
  ASSERT_TRUE(copy.attach());
  // What a closing connection shows: EXCLUSIVE held, -shm gone, -wal there.
  const os::unique_fd database(::open(path.c_str(), O_RDWR | O_CLOEXEC));
  const auto glance = [&](std::chrono::milliseconds shown) {
    struct ::flock lock {};
    lock.l_type = F_WRLCK;
    lock.l_whence = SEEK_SET;
    lock.l_start = sqlite::db_shared_first;
    lock.l_len = sqlite::db_shared_size;
    ASSERT_EQ(::fcntl(database.value(), F_OFD_SETLK, &lock), 0);
    std::ofstream(path + "-wal").close();
    const auto until = steady_clock::now() + shown;
    while (steady_clock::now() < until) copy.drain(1ms);
    std::filesystem::remove(path + "-wal");
    lock.l_type = F_UNLCK;
    ASSERT_EQ(::fcntl(database.value(), F_OFD_SETLK, &lock), 0);
  };
  glance(100ms);
  const auto later = steady_clock::now() + 1200ms;
  while (steady_clock::now() < later) ASSERT_TRUE(copy.drain(1ms)) << copy.reason();
  glance(100ms);
  EXPECT_NE(source->state().now, phase::refused) << source->state().reason;
  EXPECT_TRUE(copy.attached()) << copy.reason();
}

}  // namespace
}  // namespace understudy::capture_testing
