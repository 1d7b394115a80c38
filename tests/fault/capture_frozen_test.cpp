// The capture's process is stopped (SIGSTOP) while the application writes on: what it missed must show as a
// gap, and heal; what it did not miss must not.

#include "tests/unit/capture_testing.hpp"

namespace understudy::capture_testing {
namespace {

TEST(CaptureFrozen, AGapIsNoticedAndHealed) {
  temporary_directory directory;
  const std::string path = directory.file("app.db");
  make_database(path);
  application app([&](shared_figures& figures) {
    connection c(path);
    c.must("PRAGMA synchronous=NORMAL; PRAGMA wal_autocheckpoint=100; INSERT INTO t(a) VALUES('first')");
    figures.pause(1);
    while (figures.go < 2) {
      c.must("INSERT INTO t(a, b) VALUES(1, randomblob(300))");
      ++figures.commits;
      if (figures.commits % 50 == 0) c.must("DELETE FROM t WHERE id>100");
      ::usleep(100);
    }
  });
  ASSERT_TRUE(app.reached(1));
  // commits: gaps. times[0]: pages healed in all. other_errors: what gtest found.
  application capture([&](shared_figures& figures) {
    auto engine = start_engine();
    mirror copy(engine->add(path));
    if (!copy.attach()) ::_exit(73);
    figures.stage = 1;
    copy.follow([&] {
      figures.commits = copy.gaps();
      return figures.go >= 1;
    });
    figures.commits = copy.gaps();
    copy.expect_equals(path);
    copy.expect_consistent();
    ::_exit(testing::Test::HasFailure() ? 74 : 0);
  });
  ASSERT_TRUE(capture.reached(1));
  app.proceed(1);
  const int freezes = soak() ? 200 : 8;
  std::mt19937 random(3);
  for (int i = 0; i < freezes; ++i) {
    ::kill(capture.pid(), SIGSTOP);
    const auto before = app.figures().commits.load();
    // Several generations of 100 frames.
    ASSERT_TRUE(eventually([&] { return app.figures().commits > before + 200 + random() % 200; }));
    // The first one is long: hundreds of generations.
    if (i == 0) std::this_thread::sleep_for(soak() ? 60s : 2s);
    const auto gaps = capture.figures().commits.load();
    ::kill(capture.pid(), SIGCONT);
    EXPECT_TRUE(eventually([&] { return capture.figures().commits > gaps; }))
        << "freeze " << i << " was not noticed";
  }
  app.proceed(2);
  ASSERT_EQ(app.wait(), 0);
  capture.proceed(1);
  EXPECT_EQ(capture.wait(), 0) << "73: never ready, 74: the mirror is not the database";
  std::printf("%d freezes, %lu gaps\n", freezes, capture.figures().commits.load());
}

// Frozen for less than a generation: nothing was lost, so nothing may be reported lost.
TEST(CaptureFrozen, AShortFreezeLosesNothing) {
  temporary_directory directory;
  const std::string path = directory.file("app.db");
  make_database(path);
  application app([&](shared_figures& figures) {
    connection c(path);
    c.must("PRAGMA synchronous=NORMAL; INSERT INTO t(a) VALUES('first')");
    figures.pause(1);
    while (figures.go < 2) {
      c.must("UPDATE t SET b=randomblob(300) WHERE id=3");
      ++figures.commits;
      ::usleep(1000);
    }
  });
  ASSERT_TRUE(app.reached(1));
  application capture([&](shared_figures& figures) {
    auto engine = start_engine();
    mirror copy(engine->add(path));
    if (!copy.attach()) ::_exit(73);
    figures.stage = 1;
    copy.follow([&] { return figures.go >= 1; });
    figures.commits = copy.transactions();
    copy.expect_equals(path);
    ::_exit(testing::Test::HasFailure() ? 74 : copy.gaps() != 0 ? 75 : 0);
  });
  ASSERT_TRUE(capture.reached(1));
  app.proceed(1);
  for (int i = 0; i < 5; ++i) {
    ::kill(capture.pid(), SIGSTOP);
    const auto before = app.figures().commits.load();
    ASSERT_TRUE(eventually([&] { return app.figures().commits > before + 100; }));
    ::kill(capture.pid(), SIGCONT);
    const auto running = app.figures().commits.load();
    ASSERT_TRUE(eventually([&] { return app.figures().commits > running + 30; }));
  }
  app.proceed(2);
  ASSERT_EQ(app.wait(), 0);
  capture.proceed(1);
  EXPECT_EQ(capture.wait(), 0) << "73: never ready, 74: the mirror is not the database, 75: a gap";
  EXPECT_EQ(capture.figures().commits, app.figures().commits);
}

}  // namespace
}  // namespace understudy::capture_testing
