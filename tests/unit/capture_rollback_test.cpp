// Databases in rollback-journal mode: compared without a lock, delivered as what changed.

#include "tests/unit/capture_testing.hpp"

namespace understudy::capture_testing {
namespace {

using phase = channel::source_state::phase;

void make_rollback_database(const std::string& path, const std::string& mode) {
  run_sql(path, "PRAGMA journal_mode=" + mode + "; CREATE TABLE t(id INTEGER PRIMARY KEY, a, b);" +
                    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<3000) "
                    "INSERT INTO t SELECT i, i, randomblob(300) FROM n");
}

class CaptureRollback : public testing::TestWithParam<const char*> {};

TEST_P(CaptureRollback, DeliversCommittedStatesOnly) {
  temporary_directory directory;
  const std::string path = directory.file("app.db");
  const std::string mode = GetParam();
  make_rollback_database(path, mode);
  application app([&](shared_figures& figures) {
    connection c(path);
    c.must("PRAGMA journal_mode=" + mode +
           "; PRAGMA cache_size=10; PRAGMA synchronous=OFF; PRAGMA busy_timeout=0");
    figures.pause(1);
    for (int i = 0; i < 200; ++i) {
      // Two cells that are equal in each committed state, far apart, and no multiple of three: each third
      // transaction is undone after it has spilled into the file.
      const std::string n = std::to_string(i);
      int rc = c.run("BEGIN IMMEDIATE; UPDATE t SET a=" + n +
                     " WHERE id IN (1, 2990); UPDATE t SET b=randomblob(300) WHERE id%50=3");
      // Without a journal there is no way back.
      rc |= c.run(i % 3 == 0 && mode != "OFF" ? "ROLLBACK" : "COMMIT");
      rc == SQLITE_OK ? ++figures.commits : ++figures.commit_busy;
      ::usleep(i % 20 == 0 ? 20000 : 300);
    }
  });
  auto engine = start_engine();
  ASSERT_TRUE(app.reached(1));
  auto source = engine->add(path);
  mirror copy(source);
  ASSERT_TRUE(copy.attach());
  copy.on_transaction = [&](const auto&) {
    if (copy.transactions() % 10 != 0) return;
    const std::string image = directory.file("image.db");
    copy.write(image);
    run_sql(image,
            "CREATE TEMP TABLE x(ok CHECK(ok));"
            "INSERT INTO x SELECT integrity_check='ok' FROM pragma_integrity_check;"
            "INSERT INTO x SELECT count(DISTINCT a)=1 AND (max(a)%3<>0 OR " +
                std::string(mode == "OFF" ? "1" : "0") + ") FROM t WHERE id IN (1, 2990)");
  };
  app.proceed(1);
  copy.follow([&] { return app.finished(); });
  EXPECT_EQ(app.figures().commit_busy, 0u) << "the capture made a writer fail";
  ASSERT_TRUE(eventually([&] {
    if (!copy.attached() && !copy.attach()) return false;
    return copy.drain(20ms) && pages_of_file(path, 4096).size() == copy.pages();
  }));
  EXPECT_GE(copy.transactions(), 3u);
  EXPECT_EQ(copy.gaps(), 0u) << copy.all_reasons();
  copy.expect_equals(path);
  copy.expect_consistent();
  std::printf("%s: %lu transactions, delivered as %lu\n", mode.c_str(), app.figures().commits.load(),
              copy.transactions());
}

INSTANTIATE_TEST_SUITE_P(JournalModes, CaptureRollback,
                         testing::Values("DELETE", "TRUNCATE", "PERSIST", "MEMORY", "OFF"));

TEST(CaptureRollbackJournal, WaitsForAHotJournalToBeRolledBack) {
  temporary_directory directory;
  const std::string path = directory.file("app.db");
  make_rollback_database(path, "DELETE");
  {
    application app([&](shared_figures& figures) {
      connection c(path);
      c.must("PRAGMA cache_size=5; BEGIN; UPDATE t SET b=randomblob(299)");
      figures.pause(1);
    });
    ASSERT_TRUE(app.reached(1));
    app.kill();
  }
  ASSERT_TRUE(std::filesystem::exists(path + "-journal"));
  auto engine = start_engine();
  auto source = engine->add(path);
  std::this_thread::sleep_for(100ms);
  EXPECT_NE(source->state().now, phase::ready) << "what the file shows was never committed";
  run_sql(path, "SELECT count(*) FROM t");
  mirror copy(source);
  ASSERT_TRUE(copy.attach());
  copy.expect_equals(path);
}

// A lock that never ends hides every change: said aloud, and taken back when it ends.
TEST(CaptureRollbackJournal, RefusesExclusiveLocking) {
  for (const bool met : {false, true}) {
    temporary_directory directory;
    const std::string path = directory.file("app.db");
    make_rollback_database(path, "DELETE");
    capture::capture_options options;
    options.exclusive_limit = 300ms;
    std::unique_ptr<capture::capture_engine> engine;
    if (!met) engine = start_engine(options);
    auto source = engine ? engine->add(path) : nullptr;
    if (source) {
      ASSERT_TRUE(eventually([&] { return source->state().now == phase::ready; }));
    }
    test::sqlite_shell app(path);
    ASSERT_TRUE(app.run("PRAGMA locking_mode=EXCLUSIVE; INSERT INTO t(a) VALUES(1)"));
    if (met) engine = start_engine(options);
    if (met) source = engine->add(path);
    ASSERT_TRUE(eventually([&] { return source->state().now == phase::refused; }));
    EXPECT_THAT(source->state().reason, testing::HasSubstr("locking_mode=EXCLUSIVE"));
    ASSERT_TRUE(app.run("INSERT INTO t(a) VALUES(2)"));
    EXPECT_EQ(source->state().now, phase::refused);
    ASSERT_TRUE(app.close());
    mirror copy(source);
    ASSERT_TRUE(copy.attach());
    copy.expect_equals(path);
  }
}

// Writers that follow each other closely, each with its own exclusive lock, are no EXCLUSIVE mode.
TEST(CaptureRollbackJournal, ABusyWriterIsNotRefused) {
  temporary_directory directory;
  const std::string path = directory.file("app.db");
  make_rollback_database(path, "DELETE");
  application app([&](shared_figures& figures) {
    connection c(path);
    c.must("PRAGMA busy_timeout=0");
    figures.pause(1);
    while (figures.go < 2) {
      c.must("UPDATE t SET a=a+1 WHERE id=1");
      ++figures.commits;
    }
  });
  ASSERT_TRUE(app.reached(1));
  capture::capture_options options;
  options.exclusive_limit = 1s;  // in less, a slow capture may meet nothing but locks
  auto engine = start_engine(options);
  auto source = engine->add(path);
  ASSERT_TRUE(eventually([&] { return source->state().now == phase::ready; }));
  app.proceed(1);
  const auto end = steady_clock::now() + 2500ms;
  while (steady_clock::now() < end) {
    ASSERT_NE(source->state().now, phase::refused) << source->state().reason;
    std::this_thread::sleep_for(5ms);
  }
  app.proceed(2);
  ASSERT_EQ(app.wait(), 0);
  mirror copy(source);
  ASSERT_TRUE(copy.attach());
  copy.follow([] { return true; });
  copy.expect_equals(path);
}

TEST(CaptureRollbackJournal, FollowsTheConversionToWal) {
  temporary_directory directory;
  const std::string path = directory.file("app.db");
  make_rollback_database(path, "DELETE");
  auto engine = start_engine();
  auto source = engine->add(path);
  mirror copy(source);
  ASSERT_TRUE(copy.attach());
  test::sqlite_shell app(path);
  ASSERT_TRUE(app.run("PRAGMA journal_mode=WAL; INSERT INTO t(a) VALUES(1)"));
  ASSERT_TRUE(eventually([&] { return !copy.drain(1ms); }));
  ASSERT_TRUE(copy.attach());
  for (int i = 0; i < 10; ++i) ASSERT_TRUE(app.run("INSERT INTO t(a) VALUES(1)"));
  ASSERT_TRUE(app.close());
  copy.follow([] { return true; });
  copy.expect_equals(path);
  EXPECT_GE(engine->metrics(path).commits, 10u);
}

}  // namespace
}  // namespace understudy::capture_testing
