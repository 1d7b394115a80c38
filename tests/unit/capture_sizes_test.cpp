// Databases that shrink, grow, are very large, or are full of nothing.

#include "tests/unit/capture_testing.hpp"

namespace understudy::capture_testing {
namespace {

using phase = channel::source_state::phase;

// Extends the file with a hole, and tells SQLite that those pages are in use.
void extend(const std::string& path, std::uint32_t page_size, std::uint32_t pages) {
  {
    std::fstream file(path, std::ios::binary | std::ios::in | std::ios::out);
    file.seekp(28);
    const std::uint32_t big_endian = __builtin_bswap32(pages);
    file.write(reinterpret_cast<const char*>(&big_endian), sizeof big_endian);
  }
  std::filesystem::resize_file(path, std::uint64_t{pages} * page_size);
}

std::string page_of_file(const std::string& path, std::uint32_t page_size, std::uint32_t page) {
  std::ifstream in(path, std::ios::binary);
  in.seekg(static_cast<std::streamoff>(std::uint64_t{page - 1} * page_size));
  std::string bytes(page_size, '\0');
  in.read(bytes.data(), page_size);
  return bytes;
}

// The pages of a database too large to mirror: as captured, and as the file has them after a checkpoint.
void expect_new_pages_arrive(const std::string& path, std::uint32_t page_size, std::uint32_t pages) {
  SCOPED_TRACE(testing::Message() << pages << " pages of " << page_size);
  const std::uint32_t skipped = sqlite::lock_page(page_size);
  extend(path, page_size, pages);
  auto engine = start_engine();
  auto source = engine->add(path);
  ASSERT_TRUE(eventually([&] { return source->state().now == phase::ready; }, 60s));
  ASSERT_EQ(source->state().database_pages, pages);
  if (skipped <= pages) {
    EXPECT_EQ(source->hashes(skipped, 1).at(0), sqlite::page_hash{});
    EXPECT_EQ(source->read_page(skipped)->bytes, std::string(page_size, '\0'));
  }
  EXPECT_NE(source->hashes(skipped - 1, 1).at(0), sqlite::page_hash{});
  auto subscription = source->subscribe();
  ASSERT_TRUE(subscription.ok());
  run_sql(path, "INSERT INTO t(b) VALUES(randomblob(" + std::to_string(3 * page_size) + "))");
  const auto event = (*subscription)->next(steady_clock::now() + 20s);
  ASSERT_EQ(event.what, channel::source_event::kind::transaction) << event.reason;
  EXPECT_GT(event.transaction.database_pages, pages);
  unsigned compared = 0;
  for (const auto& page : event.transaction.pages) {
    EXPECT_NE(page.number, skipped);
    if (page.number < pages) continue;
    ++compared;
    EXPECT_EQ(page.bytes, page_of_file(path, page_size, page.number)) << page.number;
    EXPECT_EQ(source->read_page(page.number)->bytes, page.bytes) << page.number;
  }
  EXPECT_GE(compared, 3u);
}

// SQLite never stores data in the page that holds its lock bytes, 1 GiB into the file. The files are sparse,
// so this costs no disk.
TEST(CaptureSizes, PassesTheLockPageWhateverThePageSize) {
  for (const std::uint32_t page_size : {4096u, 16384u, 65536u}) {
    temporary_directory directory;
    const std::string path = directory.file("app.db");
    make_database(path, "PRAGMA page_size=" + std::to_string(page_size));
    expect_new_pages_arrive(path, page_size, sqlite::lock_page(page_size) - 1);
    ASSERT_FALSE(testing::Test::HasFailure());
  }
}

TEST(CaptureSizes, FollowsBeyondFourGibibytes) {
  temporary_directory directory;
  const std::string path = directory.file("app.db");
  make_database(path, "PRAGMA page_size=65536");
  expect_new_pages_arrive(path, 65536, 65536 + 10);
}

class CaptureAutoVacuum : public testing::TestWithParam<const char*> {};

TEST_P(CaptureAutoVacuum, FollowsTheFileAsItMovesPagesAndShrinks) {
  temporary_directory directory;
  const std::string path = directory.file("app.db");
  make_database(path, std::string("PRAGMA auto_vacuum=") + GetParam(), 2000);
  auto engine = start_engine();
  mirror copy(engine->add(path));
  ASSERT_TRUE(copy.attach());
  test::sqlite_shell app(path);
  std::uint64_t commits = 0;
  const auto commit = [&](const std::string& sql) {
    ASSERT_TRUE(app.run(sql));
    ++commits;
    ASSERT_TRUE(eventually([&] { return copy.drain(1ms) && copy.transactions() == commits; }))
        << copy.reason();
    copy.expect_consistent();
  };
  commit("INSERT INTO t(b) SELECT randomblob(3000) FROM t LIMIT 500");
  const std::size_t largest = copy.pages();
  commit("DELETE FROM t WHERE id%2=0");
  for (int i = 0; i < 5; ++i) {
    if (std::string(GetParam()) == "INCREMENTAL") commit("PRAGMA incremental_vacuum(40)");
    commit("DELETE FROM t WHERE id%5=" + std::to_string(i) + " AND id>100");
    commit("INSERT INTO t(b) VALUES(randomblob(20000))");
  }
  commit("VACUUM");
  EXPECT_LT(copy.pages(), largest);
  ASSERT_TRUE(app.close());
  copy.follow([] { return true; });
  EXPECT_EQ(copy.gaps(), 0u) << copy.all_reasons();
  copy.expect_equals(path);
  copy.expect_consistent();
}

INSTANTIATE_TEST_SUITE_P(Modes, CaptureAutoVacuum, testing::Values("FULL", "INCREMENTAL"));

// Pages of nothing but zeros are pages: a file preallocated in chunks, and a freelist that secure_delete
// zeroed.
TEST(CaptureSizes, DeliversPagesOfZeros) {
  for (const bool wal : {true, false}) {
    SCOPED_TRACE(wal ? "WAL" : "DELETE");
    temporary_directory directory;
    const std::string path = directory.file("app.db");
    make_database(path, "PRAGMA page_size=4096");
    if (!wal) run_sql(path, "PRAGMA journal_mode=DELETE");
    application app([&](shared_figures& figures) {
      connection c(path);
      int chunk = 1 << 20;
      ::sqlite3_file_control(c.handle(), nullptr, SQLITE_FCNTL_CHUNK_SIZE, &chunk);
      c.must("PRAGMA secure_delete=ON; PRAGMA synchronous=OFF; PRAGMA wal_autocheckpoint=20");
      for (std::uint64_t i = 1; i <= 20; ++i) {
        figures.pause(i);
        c.must("INSERT INTO t(b) VALUES(randomblob(40000)); INSERT INTO t(b) VALUES(zeroblob(60000))");
        c.must("DELETE FROM t WHERE id>10 AND id%3=0");
      }
      figures.pause(21);
    });
    auto engine = start_engine();
    auto source = engine->add(path);
    mirror copy(source);
    for (std::uint64_t i = 1; i <= 20; ++i) {
      app.proceed(i);
      ASSERT_TRUE(app.reached(i + 1));
      if (i == 10) copy.detach();
      if (!copy.attached()) {
        ASSERT_TRUE(copy.attach());
      }
      copy.drain(1ms);
    }
    app.proceed(21);
    copy.follow([&] { return app.finished(); });
    copy.expect_consistent();
    // A preallocated tail is no part of the database; what is, is equal.
    const auto file = pages_of_file(path, 4096);
    ASSERT_GE(file.size(), copy.pages());
    unsigned zeros = 0;
    for (std::uint32_t n = 1; n <= copy.pages(); ++n) {
      if (file[n - 1] != std::string(4096, '\0')) continue;
      ++zeros;
      EXPECT_NE(source->hashes(n, 1).at(0), sqlite::page_hash{}) << "page " << n << " would never be sent";
    }
    EXPECT_GT(zeros, 5u) << "no page of zeros: the test means nothing";
    copy.write(directory.file("copy.db"));
    run_sql(directory.file("copy.db"),
            "CREATE TEMP TABLE x(ok CHECK(ok)); INSERT INTO x SELECT integrity_check='ok' FROM "
            "pragma_integrity_check");
  }
}

}  // namespace
}  // namespace understudy::capture_testing
