// A long-lived application in WAL mode, in a process of its own, while the capture follows it.

#include <random>

#include "tests/unit/capture_testing.hpp"

namespace understudy::capture_testing {
namespace {

TEST(CaptureWal, DeliversEveryCommitInOrder) {
  temporary_directory directory;
  const std::string path = directory.file("app.db");
  make_database(path);
  constexpr int commits = 500;
  application app([&](shared_figures& figures) {
    connection c(path);
    c.must("PRAGMA synchronous=NORMAL");
    c.must("INSERT INTO t(a) VALUES('first')");
    figures.pause(1);
    for (int i = 0; i < commits; ++i) {
      c.must("INSERT INTO t(a, b) VALUES(" + std::to_string(i) + ", randomblob(300))");
      ++figures.commits;
    }
  });
  auto engine = start_engine();
  ASSERT_TRUE(app.reached(1));
  mirror copy(engine->add(path));
  ASSERT_TRUE(copy.attach());
  app.proceed(1);
  copy.follow([&] { return app.finished(); });
  EXPECT_EQ(copy.gaps(), 0u) << copy.all_reasons();
  EXPECT_EQ(copy.transactions(), static_cast<std::uint64_t>(commits));
  copy.expect_equals(path);
  copy.expect_consistent();
}

// The hardest usual case: tiny generations, random checkpoints of every kind, and a writer that never waits.
// A gap is allowed (this application resets its log every millisecond, and the machine may be busy), a missed
// or invented commit is not.
TEST(CaptureWal, FollowsRandomCheckpointsWithoutDisturbing) {
  temporary_directory directory;
  const std::string path = directory.file("app.db");
  make_database(path);
  const std::uint64_t commits = soak() ? 100000 : 10000;
  application app([&](shared_figures& figures) {
    connection c(path);
    c.must("PRAGMA synchronous=NORMAL; PRAGMA wal_autocheckpoint=50; PRAGMA busy_timeout=0");
    c.must("INSERT INTO t(a) VALUES('first')");
    figures.pause(1);
    std::mt19937 random(20261122);
    for (std::uint64_t i = 0; figures.commits < commits && figures.commit_busy + figures.other_errors == 0;
         ++i) {
      std::string sql;
      switch (random() % 4) {
        case 0:
          sql = "UPDATE t SET b=randomblob(200) WHERE id=" + std::to_string(1 + random() % 10);
          break;
        case 1:
          sql = "DELETE FROM t WHERE id=(SELECT max(id)-5 FROM t WHERE id>20)";
          break;
        default:
          sql = "INSERT INTO t(a, b) VALUES(" + std::to_string(i) + ", randomblob(300))";
      }
      const int before = ::sqlite3_total_changes(c.handle());
      const int rc = c.run(sql);
      if (rc == SQLITE_OK) {
        if (::sqlite3_total_changes(c.handle()) != before) ++figures.commits;
      } else if (rc == SQLITE_BUSY) {
        ++figures.commit_busy;
      } else {
        ++figures.other_errors;
      }
      if (random() % 97 == 0) {
        static const int modes[] = {SQLITE_CHECKPOINT_PASSIVE, SQLITE_CHECKPOINT_FULL,
                                    SQLITE_CHECKPOINT_RESTART, SQLITE_CHECKPOINT_TRUNCATE};
        const int outcome =
            ::sqlite3_wal_checkpoint_v2(c.handle(), nullptr, modes[random() % 4], nullptr, nullptr);
        if (outcome == SQLITE_BUSY) ++figures.checkpoint_busy;
      }
    }
  });
  auto engine = start_engine();
  ASSERT_TRUE(app.reached(1));
  mirror copy(engine->add(path));
  ASSERT_TRUE(copy.attach());
  const auto begun = steady_clock::now();
  app.proceed(1);
  copy.follow([&] { return app.finished(); }, soak() ? 600s : 60s);
  const auto metrics = engine->metrics(path);
  std::printf(
      "%.1f s: commits %lu, captured %lu, gaps %u, resets %lu, rescued tails %lu, pins %lu (longest %ld us), "
      "scans "
      "%lu, "
      "checkpoints busy %lu\n",
      std::chrono::duration<double>(steady_clock::now() - begun).count(), app.figures().commits.load(),
      copy.transactions(), copy.gaps(), metrics.resets, metrics.rescued_tails, metrics.pins,
      static_cast<long>(metrics.longest_pin.count()), metrics.scans, app.figures().checkpoint_busy.load());
  EXPECT_EQ(app.figures().commit_busy, 0u);
  EXPECT_EQ(app.figures().other_errors, 0u);
  EXPECT_EQ(app.figures().commits, commits);
  EXPECT_LT(metrics.longest_pin, 1s) << "a pin that stays makes every commit checkpoint";
  EXPECT_LE(copy.transactions(), app.figures().commits.load());
  if (soak()) {
    EXPECT_GE(copy.transactions(), commits / 10 * 9) << "too many logs ended unread";
  }
  if (copy.gaps() == 0) {
    EXPECT_EQ(copy.transactions(), app.figures().commits.load());
  }
  if (copy.gaps() != 0) std::printf("%s", copy.all_reasons().c_str());
  copy.expect_equals(path);
  copy.expect_consistent();
}

// The first scan, and a scan after a gap, run while the application writes and checkpoints.
TEST(CaptureWal, ScansWhileTheApplicationWrites) {
  temporary_directory directory;
  const std::string path = directory.file("app.db");
  make_database(path, "", 30000);
  for (const bool short_connections : {false, true}) {
    application app([&](shared_figures& figures) {
      std::mt19937 random(5);
      auto c = std::make_unique<connection>(path);
      c->must("PRAGMA synchronous=OFF; PRAGMA wal_autocheckpoint=300");
      figures.pause(1);
      while (figures.go < 2) {
        if (short_connections) {
          c = nullptr;
          c = std::make_unique<connection>(path);
          c->must("PRAGMA synchronous=OFF");
        }
        for (int i = 0; i < 10; ++i) {
          c->must("UPDATE t SET b=randomblob(100) WHERE id=" + std::to_string(random() % 30000 + 1));
        }
        c->must("INSERT INTO t(b) VALUES(randomblob(2000))");
        ::usleep(short_connections ? 3000 : 300);
      }
    });
    ASSERT_TRUE(app.reached(1));
    app.proceed(1);
    for (int round = 0; round < (soak() ? 50 : 5); ++round) {
      capture::capture_options options;
      options.scan_slice = std::chrono::microseconds(50);
      auto engine = start_engine(options);
      mirror copy(engine->add(path));
      ASSERT_TRUE(copy.attach(30s));
      // Pages that were fetched may be newer than the base: in step is what was drained after it was
      // attached.
      const auto end = steady_clock::now() + 50ms;
      for (bool drained = false; !drained || steady_clock::now() < end;) {
        drained = copy.drain(1ms);
        if (!drained) {
          ASSERT_TRUE(copy.attach(30s));
        }
      }
      copy.expect_pages_match_register();
      if (round + 1 == (soak() ? 50 : 5)) {
        app.proceed(2);
        copy.follow([&] { return app.finished(); });
        copy.expect_equals(path);
        copy.expect_consistent();
      }
    }
  }
}

TEST(CaptureShort, FollowsAnApplicationThatOpensAndClosesForEachRequest) {
  temporary_directory directory;
  const std::string path = directory.file("app.db");
  make_database(path);
  const std::uint64_t commits = soak() ? 5000 : 500;
  application app([&](shared_figures& figures) {
    figures.pause(1);
    for (std::uint64_t i = 0; i < commits; ++i) {
      connection c(path);
      c.must("INSERT INTO t(a, b) VALUES(" + std::to_string(i) + ", randomblob(300))");
      ++figures.commits;
    }
  });
  auto engine = start_engine();
  ASSERT_TRUE(app.reached(1));
  mirror copy(engine->add(path));
  ASSERT_TRUE(copy.attach());
  app.proceed(1);
  copy.follow([&] { return app.finished(); });
  const auto metrics = engine->metrics(path);
  std::printf("commits %lu, captured %lu, gaps %u, short logs %lu, unseen %lu, scans %lu\n%s",
              app.figures().commits.load(), copy.transactions(), copy.gaps(), metrics.short_logs,
              metrics.unseen_logs, metrics.scans, copy.all_reasons().c_str());
  copy.expect_equals(path);
  copy.expect_consistent();
}

}  // namespace
}  // namespace understudy::capture_testing
