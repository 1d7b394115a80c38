// What arrives of named tables and goes into a copy: also from a source that lies, and beside others who
// change the copy.

#include <fmt/core.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sqlite3.h>
#include <unistd.h>

#include <fstream>
#include <sstream>

#include "agent-failover/replica/guarded_copy.hpp"
#include "agent-failover/tables/copy_image.hpp"
#include "agent-failover/tables/table_sink.hpp"
#include "common/status/status_text.hpp"
#include "tests/support/temporary_directory.hpp"

namespace understudy::tables {
namespace {

constexpr std::uint32_t page_size = 4096;

class bytes_image final : public rows::page_source {
 public:
  explicit bytes_image(std::string bytes) : bytes_(std::move(bytes)) {}
  std::uint32_t page_size() const override { return tables::page_size; }
  std::uint32_t page_count() const override {
    return static_cast<std::uint32_t>(bytes_.size() / tables::page_size);
  }
  absl::Status read_page(std::uint32_t number, std::span<std::byte> page) override {
    const std::string bytes = this->page(number);
    std::copy_n(reinterpret_cast<const std::byte*>(bytes.data()), page.size(), page.begin());
    return absl::OkStatus();
  }
  std::string page(std::uint32_t number) const {
    return bytes_.substr(std::size_t{number - 1} * tables::page_size, tables::page_size);
  }
  void set(const channel::page_image& page) {
    bytes_.resize(std::max<std::size_t>(bytes_.size(), std::size_t{page.number} * tables::page_size));
    bytes_.replace(std::size_t{page.number - 1} * tables::page_size, tables::page_size, page.bytes);
  }
  void resize(std::uint32_t pages) { bytes_.resize(std::size_t{pages} * tables::page_size); }
  const std::string& bytes() const { return bytes_; }

 private:
  std::string bytes_;
};

// A database that the statements made.
bytes_image made_by(const std::string& sql) {
  const test::temporary_directory place(test::where::memory);
  const std::string file = place.path() + "/made.db";
  sqlite3* db = nullptr;
  EXPECT_EQ(sqlite3_open(file.c_str(), &db), SQLITE_OK);
  char* error = nullptr;
  EXPECT_EQ(sqlite3_exec(db, ("PRAGMA page_size=4096;" + sql).c_str(), nullptr, nullptr, &error), SQLITE_OK)
      << error;
  sqlite3_close(db);
  std::ifstream in(file, std::ios::binary);
  std::stringstream bytes;
  bytes << in.rdbuf();
  return bytes_image(bytes.str());
}

std::string answer(const bytes_image& image, const std::string& sql) {
  const test::temporary_directory place(test::where::memory);
  const std::string file = place.path() + "/asked.db";
  std::ofstream(file, std::ios::binary) << image.bytes();
  sqlite3* db = nullptr;
  EXPECT_EQ(sqlite3_open(file.c_str(), &db), SQLITE_OK);
  std::string text;
  const auto take = [](void* to, int count, char** values, char**) {
    for (int i = 0; i < count; ++i) *static_cast<std::string*>(to) += values[i] ? values[i] : "NULL";
    return 0;
  };
  EXPECT_EQ(sqlite3_exec(db, sql.c_str(), take, &text, nullptr), SQLITE_OK) << sqlite3_errmsg(db);
  sqlite3_close(db);
  return text;
}

// The definition of `users` replaced by one that SQLite accepts when it reads the schema.
std::string with_definition(const std::string& sql) {
  return "CREATE TABLE users(id INTEGER PRIMARY KEY, name TEXT); INSERT INTO users VALUES(1,'a');"
         "PRAGMA writable_schema=ON; UPDATE sqlite_schema SET sql='" +
         sql + "' WHERE name='users';";
}

TEST(tables_merge, definitions_cannot_reach_beyond_the_images) {
  const test::temporary_directory place;
  const std::string target = place.path() + "/theirs.db";
  auto copy = made_by("CREATE TABLE calls(id INTEGER PRIMARY KEY)");
  for (const std::string& uri : {target, "file:" + target + "?vfs=unix"}) {
    auto named = made_by(with_definition(fmt::format(
        "CREATE TABLE users(id INTEGER PRIMARY KEY, name TEXT); ATTACH ''{0}'' AS x; CREATE TABLE x.y(z)",
        uri)));
    const auto merged = merge_tables(copy, named, {"users"});
    EXPECT_NE(::access(target.c_str(), F_OK), 0) << message_of(merged.status());
  }
  auto module = made_by(with_definition("CREATE VIRTUAL TABLE users USING fts5(a)"));
  EXPECT_TRUE(absl::IsUnimplemented(merge_tables(copy, module, {"users"}).status()));
}

TEST(tables_merge, a_definition_that_takes_memory_or_time_without_bound_is_ended) {
  auto copy = made_by("CREATE TABLE calls(id INTEGER PRIMARY KEY)");
  const auto with_index = [](int rows, const char* on) {
    return made_by(
        fmt::format("CREATE TABLE users(id INTEGER PRIMARY KEY, name TEXT); WITH RECURSIVE n(i) AS "
                    "(SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<{}) INSERT INTO users SELECT i, "
                    "'a' FROM n; CREATE INDEX what ON users(name);PRAGMA writable_schema=ON; UPDATE "
                    "sqlite_schema SET sql='CREATE INDEX what ON users({})' WHERE name='what'",
                    rows, on));
  };
  auto large = with_index(20, "hex(zeroblob(id*0+500000))");
  const auto much = merge_tables(copy, large, {"users"}, {.most_bytes = 4 << 20});
  EXPECT_TRUE(absl::IsResourceExhausted(much.status())) << message_of(much.status());
  auto busy = with_index(20000, "length(hex(zeroblob(id*0+500000)))");
  const auto slow = merge_tables(copy, busy, {"users"}, {.within = std::chrono::seconds(1)});
  EXPECT_TRUE(absl::IsDeadlineExceeded(slow.status())) << message_of(slow.status());
}

// A page that the merge took at the end and gave up again is not written by SQLite, but the size counts it.
TEST(tables_merge, every_page_that_is_added_is_given) {
  auto copy = made_by("CREATE TABLE users(id INTEGER PRIMARY KEY, name TEXT UNIQUE, photo BLOB);");
  for (int rows = 1; rows < 400; rows += 13) {
    auto named = made_by(fmt::format(
        "CREATE TABLE users(id INTEGER PRIMARY KEY, name TEXT UNIQUE, photo BLOB, more TEXT);"
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<{}) INSERT INTO users SELECT "
        "i, hex(randomblob(40)), zeroblob(i*30), 'x' FROM n",
        rows));
    const auto merged = merge_tables(copy, named, {"users"});
    ASSERT_TRUE(merged.ok()) << message_of(merged.status());
    std::vector<bool> given(merged->database_pages + 1);
    for (const auto& page : merged->pages) given[page.number] = true;
    for (std::uint32_t page = copy.page_count() + 1; page <= merged->database_pages; ++page)
      ASSERT_TRUE(given[page]) << page << " of " << merged->database_pages;
    bytes_image made = copy;
    made.resize(merged->database_pages);
    for (const auto& page : merged->pages) made.set(page);
    ASSERT_EQ(answer(made, "PRAGMA integrity_check; SELECT count(*) FROM users"), fmt::format("ok{}", rows));
  }
}

class tables_sink : public testing::Test {
 protected:
  tables_sink() {
    auto opened =
        replica::database_copy::open(os::posix_file_system().open_root(place_.path()).value(), "copy.db");
    copy_ = std::make_shared<replica::guarded_copy>(*std::move(opened));
    bring(*copy_, state(1));
    EXPECT_TRUE(copy_->commit_durably().ok());
    sink_ = std::make_unique<table_sink>(copy_, std::vector<std::string>{"users"});
  }
  static bytes_image state(int n) {
    return made_by(fmt::format(
        "CREATE TABLE users(id INTEGER PRIMARY KEY, name TEXT); INSERT INTO users VALUES(1,'state {}');", n));
  }
  static void bring(channel::database_sink& sink, const bytes_image& image) {
    ASSERT_TRUE(sink.begin_heal(channel::heal_way::in_place, page_size).ok());
    sqlite::page_hash all;
    for (std::uint32_t n = 1; n <= image.page_count(); ++n) {
      const std::string page = image.page(n);
      all ^= sqlite::hash_page(n, std::as_bytes(std::span(page)));
      ASSERT_TRUE(sink.add_pages(page_size, std::vector<channel::page_image>{{n, page}}).ok());
    }
    ASSERT_TRUE(sink.end_heal(image.page_count(), all).ok());
  }
  std::string shown() {
    bytes_image now("");
    copy_->with([&](replica::database_copy& c) {
      copy_image image(c);
      std::string page(page_size, '\0');
      for (std::uint32_t n = 1; n <= image.page_count(); ++n) {
        EXPECT_TRUE(image.read_page(n, std::as_writable_bytes(std::span(page))).ok());
        if (n == 1) page[18] = page[19] = 1;
        now.set({n, page});
      }
    });
    return answer(now, "SELECT name FROM users WHERE id=1");
  }

  const test::temporary_directory place_{test::where::memory};
  std::shared_ptr<replica::guarded_copy> copy_;
  std::unique_ptr<table_sink> sink_;
};

// The named table was A, the daily copy brought B, and the primary has A again: no page of it travels.
TEST_F(tables_sink, what_came_with_a_daily_copy_does_not_stay_when_the_source_is_as_before) {
  bring(*sink_, state(2));
  ASSERT_TRUE(sink_->commit_durably().ok());
  ASSERT_EQ(shown(), "state 2");
  bring(*copy_, state(3));
  ASSERT_TRUE(copy_->commit_durably().ok());
  sink_->copy_changed();
  // A stream begins with these two; until the source spoke, the copy does not go back.
  sink_->abandon();
  ASSERT_TRUE(sink_->commit_durably().ok());
  ASSERT_EQ(shown(), "state 3");
  ASSERT_TRUE(sink_->found_equal().ok());
  ASSERT_EQ(shown(), "state 2");
}

TEST_F(tables_sink, what_cannot_be_applied_is_not_in_the_way_of_what_can) {
  bring(*sink_,
        made_by(with_definition(
            "CREATE TABLE users(id INTEGER PRIMARY KEY, name TEXT COLLATE of_the_application UNIQUE)")));
  ASSERT_FALSE(sink_->commit_durably().ok());
  sink_->abandon();
  ASSERT_TRUE(sink_->commit_durably().ok());  // as a stream begins
  bring(*sink_, state(4));
  ASSERT_TRUE(sink_->commit_durably().ok());
  ASSERT_EQ(shown(), "state 4");
}

TEST_F(tables_sink, pages_of_zeros_cost_memory_too_and_are_bounded) {
  table_sink sink(copy_, {"users"}, {.most_bytes = 1 << 20});
  ASSERT_TRUE(sink.begin_heal(channel::heal_way::in_place, page_size).ok());
  const std::string zeros(page_size, '\0');
  absl::Status status;
  std::uint32_t page = 1;
  for (; status.ok() && page < 100'000; ++page)
    status = sink.add_pages(page_size, std::vector<channel::page_image>{{page, zeros}});
  EXPECT_TRUE(absl::IsResourceExhausted(status)) << page;
}

}  // namespace
}  // namespace understudy::tables
