// The power fails at every sync point, and at every operation, while the rows of a named table go into a
// copy. Stock SQLite then opens it: the named table is as after a commit, not behind the last
// acknowledgement, the other one as of the daily copy, and indexes fit.

#include <fmt/core.h>
#include <gtest/gtest.h>
#include <sqlite3.h>

#include <vector>

#include "agent-failover/replica/guarded_copy.hpp"
#include "agent-failover/tables/table_sink.hpp"
#include "common/sqlite/database.hpp"
#include "common/status/status_macros.hpp"
#include "common/status/status_text.hpp"
#include "tests/support/faulty_file_system.hpp"
#include "tests/support/power_cuts.hpp"
#include "tests/support/rows/recorder.hpp"
#include "tests/support/temporary_directory.hpp"

namespace understudy {
namespace {

using rows::testing::pages;
using rows::testing::recorder;

constexpr int commits = 12;

// The primary after the daily copy and after each of its commits since; each writes to both tables.
const std::vector<pages>& images() {
  static const std::vector<pages> all = [] {
    std::vector<pages> made;
    recorder primary({});
    const auto run = [&](const std::string& sql) {
      if (!primary.execute(sql)) throw std::runtime_error(primary.error);
      primary.step();
      made.push_back(primary.after);
    };
    run("CREATE TABLE users(id INTEGER PRIMARY KEY, name TEXT UNIQUE, photo BLOB);"
        "CREATE TABLE calls(id INTEGER PRIMARY KEY, who TEXT); CREATE INDEX by_who ON calls(who);"
        "INSERT INTO users VALUES(0,'state-0',zeroblob(5000)); INSERT INTO calls VALUES(1,'x')");
    for (int i = 1; i <= commits; ++i) {
      run(
          fmt::format("BEGIN; UPDATE users SET name='state-{0}' WHERE id=0; INSERT INTO users(id,name,photo) "
                      "VALUES({0},'user {0}',randomblob({1})); DELETE FROM users WHERE id={2};"
                      "INSERT INTO calls(who) VALUES('caller {0}'); {3} COMMIT",
                      i, i * 700, i - 4 > 0 ? i - 4 : -1,
                      i == 7 ? "ALTER TABLE users ADD COLUMN mail TEXT DEFAULT 'none';" : ""));
    }
    return made;
  }();
  return all;
}

channel::page_image page_of(const pages& image, std::uint32_t number) {
  return {number, *image.content[number - 1]};
}

absl::Status bring(channel::database_sink& sink, const pages& image) {
  UNDERSTUDY_RETURN_IF_ERROR(sink.begin_heal(channel::heal_way::new_file, image.size));
  std::vector<channel::page_image> all;
  sqlite::page_hash combined;
  for (std::uint32_t n = 1; n <= image.page_count(); ++n) {
    channel::page_image page = page_of(image, n);
    if (n == 1 && sink.sparse()) {  // as the agent shows it
      page.bytes[18] = page.bytes[19] = 1;
      page.bytes.replace(24, 8, 8, '\0');
    }
    const bool zeros = page.bytes.find_first_not_of('\0') == std::string::npos;
    if (!zeros || !sink.sparse()) combined ^= sqlite::hash_page(n, std::as_bytes(std::span(page.bytes)));
    all.push_back(std::move(page));
  }
  UNDERSTUDY_RETURN_IF_ERROR(sink.add_pages(image.size, all));
  return sink.end_heal(image.page_count(), combined);
}

struct progress {
  int acknowledged = -1;
  int attempted = -1;
};

absl::Status follow(test::faulty_file_system& fs, const std::string& place, progress& at) {
  UNDERSTUDY_ASSIGN_OR_RETURN(auto directory, fs.open_root(place));
  replica::copy_options options;
  options.patience = options.exclusive_patience = std::chrono::milliseconds(50);
  UNDERSTUDY_ASSIGN_OR_RETURN(auto opened,
                              replica::database_copy::open(std::move(directory), "copy.db", options));
  auto copy = std::make_shared<replica::guarded_copy>(std::move(opened));
  at.attempted = 0;
  UNDERSTUDY_RETURN_IF_ERROR(bring(*copy, images()[0]));
  UNDERSTUDY_RETURN_IF_ERROR(copy->commit_durably());
  at.acknowledged = 0;
  tables::table_sink sink(copy, {"users"});
  for (int i = 1; i <= commits; ++i) {
    at.attempted = i;
    UNDERSTUDY_RETURN_IF_ERROR(bring(sink, images()[static_cast<std::size_t>(i)]));
    if (i % 3 == 1) continue;  // two commits of the primary become one of the copy
    UNDERSTUDY_RETURN_IF_ERROR(sink.commit_durably());
    at.acknowledged = i;
    if (i % 5 == 0) UNDERSTUDY_RETURN_IF_ERROR(copy->with([](auto& c) { return c.fold(); }));
  }
  return absl::OkStatus();
}

std::string first_word(sqlite::database& db, const std::string& sql) {
  auto s = db.prepare(sql);
  EXPECT_TRUE(s.ok()) << message_of(s.status());
  if (!s.ok()) return "";
  EXPECT_TRUE(s->step().value_or(false));
  return std::string(s->column_text(0));
}

void check(const std::function<void(test::faulty_file_system&)>& arm, std::uint64_t seed,
           std::span<const test::unsynced> policies) {
  const test::temporary_directory real(test::where::memory);
  test::faulty_file_system fs(real.path());
  arm(fs);
  progress at;
  const absl::Status ended = follow(fs, real.path(), at);
  ASSERT_TRUE(ended.ok() || fs.power_is_cut()) << message_of(ended);
  for (const auto policy : policies) {
    const test::temporary_directory image(test::where::memory);
    ASSERT_TRUE(fs.materialise(image.path(), policy, seed).ok());
    SCOPED_TRACE(fmt::format("policy {}, seed {}, acknowledged {}, attempted {}", static_cast<int>(policy),
                             seed, at.acknowledged, at.attempted));
    const std::string path = image.path() + "/copy.db";
    if (::access(path.c_str(), F_OK) != 0) {
      ASSERT_EQ(at.acknowledged, -1);
      continue;
    }
    auto db = sqlite::database::open(path, {.create = false});
    ASSERT_TRUE(db.ok());
    ASSERT_EQ(first_word(*db, "PRAGMA integrity_check"), "ok");
    if (at.acknowledged < 0 && first_word(*db, "SELECT count(*) FROM sqlite_schema") == "0") continue;
    ASSERT_EQ(first_word(*db, "SELECT count(*) || max(who) FROM calls"), "1x");
    const std::string state = first_word(*db, "SELECT name FROM users WHERE id=0");
    const int shown = std::stoi(state.substr(6));
    ASSERT_GE(shown, at.acknowledged);
    ASSERT_LE(shown, at.attempted);
    const int oldest = shown <= 4 ? 1 : shown - 3;
    ASSERT_EQ(
        first_word(*db, "SELECT count(*) || ' ' || total(length(photo)) FROM users WHERE id>0"),
        fmt::format(
            "{} {}", shown == 0 ? 0 : shown - oldest + 1,
            shown == 0 ? "0.0" : fmt::format("{}.0", 700 * (oldest + shown) * (shown - oldest + 1) / 2)));
    ASSERT_EQ(first_word(*db, "SELECT count(*) FROM pragma_table_info('users')"), shown >= 7 ? "4" : "3");
  }
}

test::power_cut_places places() {
  const test::temporary_directory real(test::where::memory);
  test::faulty_file_system fs(real.path());
  progress at;
  const absl::Status ended = follow(fs, real.path(), at);
  EXPECT_TRUE(ended.ok()) << message_of(ended);
  EXPECT_EQ(at.acknowledged, commits);
  return {fs.sync_points(), fs.operations()};
}

TEST(tables_power_cut, at_every_sync_point) {
  test::cut_at_every_sync_point(places().sync_points, check);
}

TEST(tables_power_cut, at_every_operation) {
  test::cut_at_every_operation(places().operations, 1, check);
}

}  // namespace
}  // namespace understudy
