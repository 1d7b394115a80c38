// The capture, the application and the file each begin and end without the others: what was missed is found.

#include "agent-primary/capture/pin.hpp"
#include "agent-primary/capture/wal_index.hpp"
#include "tests/unit/capture_testing.hpp"

namespace understudy::capture_testing {
namespace {

using phase = channel::source_state::phase;

struct CaptureLives : testing::Test {
  // The mirror loses its subscription, and a new one leads to the file as it is.
  void expect_gap_then_equal(mirror& copy) {
    ASSERT_TRUE(eventually([&] { return !copy.attached() || !copy.drain(1ms); }));
    ASSERT_TRUE(eventually([&] {
      if (!copy.attached() && !copy.attach()) return false;
      if (!copy.drain(20ms)) return false;
      return pages_of_file(path, 4096).size() == copy.pages();
    }));
    copy.expect_equals(path);
    copy.expect_consistent();
  }

  temporary_directory directory;
  const std::string path = directory.file("app.db");
};

// Commits and checkpoints while no capture runs: the next one knows nothing, and only what differs travels.
TEST_F(CaptureLives, FindsWhatHappenedWhileItWasDown) {
  make_database(path, "", 2000);
  auto engine = start_engine();
  auto source = engine->add(path);
  mirror copy(source);
  ASSERT_TRUE(copy.attach());
  engine.reset();
  run_sql(path,
          "UPDATE t SET b=randomblob(100) WHERE id=77; PRAGMA wal_checkpoint(TRUNCATE);"
          "UPDATE t SET b=randomblob(100) WHERE id=1777; PRAGMA wal_checkpoint(RESTART)");
  engine = start_engine();
  copy.use(engine->add(path));
  ASSERT_TRUE(copy.attach());
  EXPECT_GT(copy.healed_pages(), 1u);
  EXPECT_LT(copy.healed_pages(), 8u);
  copy.expect_equals(path);
}

// synchronous=NORMAL: commits that were shipped are gone after a power cut, so the copy is ahead of the
// primary.
TEST_F(CaptureLives, FollowsAPrimaryThatLostItsLastCommits) {
  make_database(path);
  test::sqlite_shell app(path);
  ASSERT_TRUE(app.run("INSERT INTO t(a) VALUES('kept')"));
  const auto kept = std::filesystem::file_size(path + "-wal");
  auto engine = start_engine();
  mirror copy(engine->add(path));
  ASSERT_TRUE(copy.attach());
  ASSERT_TRUE(app.run("INSERT INTO t(a) VALUES('lost'); INSERT INTO t(a) VALUES('lost')"));
  ASSERT_TRUE(eventually([&] { return copy.drain(1ms) && copy.transactions() == 2; }));
  app.kill();
  engine.reset();
  std::filesystem::resize_file(path + "-wal", kept);
  std::filesystem::remove(path + "-shm");
  engine = start_engine();
  copy.use(engine->add(path));
  ASSERT_TRUE(copy.attach());
  EXPECT_GE(copy.healed_pages(), 1u);
  run_sql(path,
          "INSERT INTO t(a) VALUES('new'); CREATE TEMP TABLE x(ok CHECK(ok));"
          "INSERT INTO x SELECT count(*)=0 FROM t WHERE a='lost'");
  copy.follow([] { return true; });
  copy.expect_equals(path);
  copy.expect_consistent();
}

// Frames of an older generation lie behind the end of a log that was started over, whole and with right
// checksums.
TEST_F(CaptureLives, ReadsNoFramesOfAnOlderGeneration) {
  make_database(path);
  {
    test::sqlite_shell app(path);
    std::string commits;
    for (int i = 0; i < 20; ++i) commits += "UPDATE t SET b=randomblob(100) WHERE id=1;";
    ASSERT_TRUE(app.run(commits));
    ASSERT_TRUE(app.run("PRAGMA wal_checkpoint(RESTART); UPDATE t SET a='last' WHERE id=1"));
    app.kill();
  }
  ASSERT_GT(std::filesystem::file_size(path + "-wal"), 10u * 4120);
  auto engine = start_engine();
  mirror copy(engine->add(path));
  ASSERT_TRUE(copy.attach());
  EXPECT_EQ(engine->metrics(path).commits, 1u);
  run_sql(path, "SELECT count(*) FROM t");
  copy.follow([] { return true; });
  copy.expect_equals(path);
}

// A reader that begins when everything is checkpointed gets a lock that does not keep the log from being
// started over; the pin takes the byte that does, and lets commits and checkpoints go on.
TEST_F(CaptureLives, ThePinKeepsACheckpointedLogFromBeingStartedOver) {
  make_database(path);
  test::sqlite_shell app(path);
  ASSERT_TRUE(app.run("PRAGMA busy_timeout=0; INSERT INTO t(a) VALUES(1)"));
  ASSERT_EQ(app.run("PRAGMA wal_checkpoint(PASSIVE)").value_or(""), "0|1|1\n");
  const os::unique_fd index(::open((path + "-shm").c_str(), O_RDONLY | O_CLOEXEC));
  const auto before = capture::read_wal_index(index.value());
  ASSERT_TRUE(before);
  capture::capture_metrics metrics;
  {
    const capture::read_pin pin(index.value(), metrics);
    ASSERT_TRUE(pin.held());
    ASSERT_TRUE(app.run("INSERT INTO t(a) VALUES(2)"));
    EXPECT_EQ(capture::read_wal_index(index.value())->salt, before->salt) << "started over under the pin";
    EXPECT_EQ(app.run("PRAGMA wal_checkpoint(PASSIVE)").value_or("").front(), '0');
    EXPECT_EQ(app.run("PRAGMA wal_checkpoint(TRUNCATE)").value_or("").front(), '1')
        << "busy, while it is held";
  }
  ASSERT_TRUE(app.run("INSERT INTO t(a) VALUES(3)"));
  EXPECT_NE(capture::read_wal_index(index.value())->salt, before->salt);
}

TEST_F(CaptureLives, FollowsAFileThatIsMovedAwayAndBack) {
  make_database(path);
  auto engine = start_engine();
  auto source = engine->add(path);
  mirror copy(source);
  ASSERT_TRUE(copy.attach());
  std::filesystem::rename(path, path + ".away");
  ASSERT_TRUE(eventually([&] { return source->state().now == phase::absent; }));
  EXPECT_FALSE(copy.drain(1s));
  run_sql(path + ".away", "INSERT INTO t(a) VALUES('meanwhile')");
  std::filesystem::rename(path + ".away", path);
  expect_gap_then_equal(copy);
}

// A restore by the usual means, the application stopped: `.restore` writes through SQLite, `cp` in place, and
// a deployment renames.
TEST_F(CaptureLives, FollowsARestore) {
  make_database(path, "", 50);
  const std::string backup = directory.file("backup.db");
  run_sql(path, ".backup " + backup);
  run_sql(path, "INSERT INTO t(b) SELECT randomblob(900) FROM t; DELETE FROM t WHERE id<20");
  auto engine = start_engine();
  auto source = engine->add(path);
  mirror copy(source);
  ASSERT_TRUE(copy.attach());
  run_sql(path, ".restore " + backup);
  copy.follow([] { return true; });
  copy.expect_equals(path);

  run_sql(path, "DELETE FROM t WHERE id<40");
  copy.follow([] { return true; });
  std::filesystem::copy_file(backup, path, std::filesystem::copy_options::overwrite_existing);
  expect_gap_then_equal(copy);

  run_sql(path, "DELETE FROM t WHERE id<45");
  copy.follow([] { return true; });
  std::filesystem::copy_file(backup, path + ".new");
  std::filesystem::rename(path + ".new", path);
  expect_gap_then_equal(copy);
}

// Whatever the application does, the capture has no descriptor by which a byte could be written, so it
// creates nothing, converts nothing, checkpoints nothing.
TEST_F(CaptureLives, HasNoDescriptorThatCouldWrite) {
  make_database(path);
  auto engine = start_engine();
  mirror copy(engine->add(path));
  ASSERT_TRUE(copy.attach());
  test::sqlite_shell app(path);
  ASSERT_TRUE(app.run("INSERT INTO t(a) VALUES(1)"));
  ASSERT_TRUE(eventually([&] { return copy.drain(1ms) && copy.transactions() == 1; }));
  unsigned found = 0;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    std::error_code gone;
    const std::string target = std::filesystem::read_symlink(entry.path(), gone).string();
    if (gone || !target.starts_with(path)) continue;
    ++found;
    const int fd = std::stoi(entry.path().filename().string());
    EXPECT_EQ(::fcntl(fd, F_GETFL) & O_ACCMODE, O_RDONLY) << target;
  }
  EXPECT_EQ(found, 3u) << "the database, its -wal and its -shm";
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);) EXPECT_EQ(line.find(path), std::string::npos) << line;
}

}  // namespace
}  // namespace understudy::capture_testing
