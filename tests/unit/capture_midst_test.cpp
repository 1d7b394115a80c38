// An agent that starts in the midst of whatever the application does: what it then takes for the database is
// the database.

#include "agent-primary/capture/captured_image.hpp"
#include "agent-primary/capture/log_follower.hpp"
#include "tests/unit/capture_testing.hpp"

namespace understudy::capture_testing {
namespace {

// Odd: hold still; even: go on. The application answers with the same number.
constexpr std::uint64_t moving(std::uint64_t word) {
  return word % 2 == 0;
}

// What the connection sees, by the hash of its pages; into `times`.
void tell_image(connection& c, shared_figures& figures) {
  sqlite3_int64 size = 0;
  unsigned char* const bytes = ::sqlite3_serialize(c.handle(), "main", &size, 0);
  if (bytes == nullptr) ::_exit(71);
  constexpr std::uint32_t page_size = 4096;
  sqlite::page_hash all;
  const auto pages = static_cast<std::uint32_t>(size / page_size);
  for (std::uint32_t n = 1; n <= pages; ++n) {
    all ^= sqlite::hash_page(
        n, std::as_bytes(std::span{bytes + std::size_t{n - 1} * page_size, std::size_t{page_size}}));
  }
  ::sqlite3_free(bytes);
  figures.times[0] = static_cast<std::int64_t>(all.low);
  figures.times[1] = static_cast<std::int64_t>(all.high);
  figures.times[2] = pages;
}

// The source comes to what was told.
void expect_truth(channel::database_source& source, application& app) {
  const auto& told = app.figures().times;
  EXPECT_TRUE(eventually(
      [&] {
        const sqlite::page_hash truth{.high = static_cast<std::uint64_t>(told[1]),
                                      .low = static_cast<std::uint64_t>(told[0])};
        const auto state = source.state();
        return state.now == channel::source_state::phase::ready && state.combined == truth;
      },
      5s))
      << source.state().database_pages << " pages, not " << told[2] << "; " << source.state().reason;
}

// Dies in the middle of a transaction of which a part is in the log.
void die_in_a_transaction(const std::string& path) {
  const pid_t child = ::fork();
  if (child == 0) {
    connection c(path);
    ::sqlite3_busy_timeout(c.handle(), 10000);
    c.must("PRAGMA cache_size=5; INSERT INTO t(a, b) VALUES(0, randomblob(500)); BEGIN; UPDATE t SET a=a+1");
    ::_exit(0);
  }
  ::waitpid(child, nullptr, 0);
}

void be_an_application(const std::string& path, shared_figures& figures) {
  std::mt19937 random(20261123);
  std::unique_ptr<connection> c;
  for (;;) {
    if (c == nullptr) {
      c = std::make_unique<connection>(path);
      ::sqlite3_busy_timeout(c->handle(), 10000);
      c->must("PRAGMA synchronous=NORMAL");
    }
    if (const std::uint64_t word = figures.go; !moving(word)) {
      tell_image(*c, figures);
      figures.stage = word;
      while (figures.go == word) ::usleep(200);
      continue;
    }
    const auto some = std::to_string(random() % 1000);
    switch (random() % 60) {
      case 0:
        c->must("VACUUM");
        break;
      case 1:
        c->must("PRAGMA wal_checkpoint(TRUNCATE)");
        break;
      case 2:
        c->must("PRAGMA wal_checkpoint(RESTART)");
        break;
      case 3:
        c->must("PRAGMA wal_checkpoint(PASSIVE)");
        break;
      case 4:
      case 5:
        c.reset();
        break;
      case 6:
        c->must("PRAGMA wal_autocheckpoint=50");
        break;
      case 10:
        c.reset();
        die_in_a_transaction(path);
        break;
      case 7:
        c->must("UPDATE t SET a=a+1 WHERE id<" + some);
        break;
      case 8:
        c->must("UPDATE t SET b=randomblob(length(b)) WHERE id<" + some);
        break;
      case 9:
        c->must("DELETE FROM t WHERE id>1500 AND id%3=0");
        break;
      default:
        c->must("INSERT INTO t(a, b) VALUES(" + some + ", randomblob(" +
                (random() % 20 == 0 ? "300000" : "300") + "))");
    }
    ++figures.commits;
  }
}

// A log that takes several turns to read is started over after the first. What the rest of it wrote stands in
// the database file only, over what was read, and the scan keeps what was read.
TEST(CaptureMidst, ALogThatIsStartedOverWhileItIsFirstReadIsLost) {
  temporary_directory directory;
  const std::string path = directory.file("app.db");
  make_database(path);
  test::sqlite_shell app(path);
  ASSERT_TRUE(app.run("PRAGMA wal_autocheckpoint=0; INSERT INTO t(a, b) VALUES(1, randomblob(1000));"));
  ASSERT_TRUE(app.run("INSERT INTO t(a, b) VALUES(1, zeroblob(20000000)); PRAGMA wal_checkpoint(PASSIVE);"));

  const auto open = [&](const char* suffix) {
    return os::unique_fd{::open((path + suffix).c_str(), O_RDWR | O_CLOEXEC)};
  };
  const auto image = std::make_shared<capture::captured_image>(1 << 20, [] {});
  image->begin_scan(std::make_shared<const os::unique_fd>(open("")), 4096, 10, "");
  capture::capture_metrics metrics;
  std::vector<std::byte> buffer;
  capture::log_follower log(std::make_shared<const os::unique_fd>(open("-wal")), false, *image, metrics,
                            buffer, 0ms);
  log.attach_index(open("-shm"));
  ASSERT_EQ(log.poll(), capture::log_follower::result::more);
  EXPECT_GT(log.commits(), 0U);
  // All of it is in the file, so this begins at the front.
  ASSERT_TRUE(app.run("UPDATE t SET a=a+1 WHERE id=5;"));
  EXPECT_EQ(log.poll(), capture::log_follower::result::lost);
  EXPECT_THAT(log.reason(), testing::HasSubstr("started over"));
}

TEST(CaptureMidst, IsRightAboutTheDatabaseHoweverItBegan) {
  temporary_directory directory;
  const std::string path = directory.file("app.db");
  make_database(path, "", 1000);
  run_sql(path, "UPDATE t SET b=randomblob(30000)");
  application app([&](shared_figures& figures) { be_an_application(path, figures); });
  std::mt19937 random(7);
  const std::uint64_t rounds = soak() ? 2000 : 20;
  for (std::uint64_t round = 1; round <= rounds; ++round) {
    SCOPED_TRACE("round " + std::to_string(round));
    const auto commits = app.figures().commits.load();
    ASSERT_TRUE(eventually([&] { return app.figures().commits > commits + random() % 30; }));
    auto engine = start_engine();
    mirror copy(engine->add(path));
    ASSERT_TRUE(copy.attach());
    if (random() % 2 == 0) {
      const auto until = steady_clock::now() + std::chrono::milliseconds(random() % 100);
      copy.follow([&] { return steady_clock::now() > until; });
    }
    app.proceed(2 * round - 1);
    ASSERT_TRUE(app.reached(2 * round - 1));
    copy.follow([] { return true; });
    expect_truth(*copy.source(), app);
    EXPECT_EQ(engine->metrics(path).divergences, 0U);
    if (testing::Test::HasFailure()) return;
    app.proceed(2 * round);
  }
}

}  // namespace
}  // namespace understudy::capture_testing
