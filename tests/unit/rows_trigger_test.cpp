// The decoder against triggers: every change that SQLite makes is logged by it as it happens, and what that
// amounts to per row at the commit must be what was decoded.

#include <fmt/core.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <map>
#include <optional>

#include "common/rows/decoder.hpp"
#include "tests/support/rows/recorder.hpp"
#include "tests/unit/rows_writer.hpp"

namespace understudy::rows {
namespace {

using testing::random_writer;
using testing::recorder;

std::string quoted(const std::string& name) {
  std::string text = "\"";
  for (const char c : name) text += c == '"' ? std::string("\"\"") : std::string(1, c);
  return text + "\"";
}

class statement {
 public:
  statement(sqlite3* connection, const std::string& sql) {
    if (sqlite3_prepare_v2(connection, sql.c_str(), -1, &handle_, nullptr) != SQLITE_OK) {
      ADD_FAILURE() << sql << ": " << sqlite3_errmsg(connection);
    }
  }
  ~statement() { sqlite3_finalize(handle_); }
  bool step() { return sqlite3_step(handle_) == SQLITE_ROW; }
  bool is_null(int i) { return sqlite3_column_type(handle_, i) == SQLITE_NULL; }
  std::string text(int i) { return reinterpret_cast<const char*>(sqlite3_column_text(handle_, i)); }
  sqlite3_stmt* handle() { return handle_; }

 private:
  sqlite3_stmt* handle_ = nullptr;
};

// Values in SQLite's own words.
class speller {
 public:
  explicit speller(sqlite3* connection) : quote_(connection, "SELECT quote(?1)") {}

  std::string spell(const value& v) {
    sqlite3_stmt* s = quote_.handle();
    sqlite3_reset(s);
    if (const auto* i = std::get_if<std::int64_t>(&v)) {
      sqlite3_bind_int64(s, 1, *i);
    } else if (const auto* r = std::get_if<double>(&v)) {
      sqlite3_bind_double(s, 1, *r);
    } else if (const auto* t = std::get_if<text_value>(&v)) {
      sqlite3_bind_text(s, 1, t->bytes.data(), static_cast<int>(t->bytes.size()), SQLITE_TRANSIENT);
    } else if (const auto* b = std::get_if<blob_value>(&v)) {
      sqlite3_bind_blob(s, 1, b->bytes.data(), static_cast<int>(b->bytes.size()), SQLITE_TRANSIENT);
      if (b->bytes.empty()) sqlite3_bind_zeroblob(s, 1, 0);
    } else {
      sqlite3_bind_null(s, 1);
    }
    quote_.step();
    return quote_.text(0);
  }
  std::string spell(const row& r) {
    std::string text;
    for (const value& v : r.values) text += spell(v) + "|";
    return text;
  }
  std::string spell_key(const change& c) {
    if (c.rowid) return spell(*c.rowid) + "|";
    const row& r = c.after ? *c.after : *c.before;
    std::string text;
    for (std::size_t i = 0; i < r.shape->key_columns; ++i) {
      std::size_t place = 0;
      for (std::size_t j = 0; j < r.shape->stored[i]; ++j) place += !r.shape->columns[j].computed;
      // 1 and 1.0 are the same key.
      const auto* real = std::get_if<double>(&r.values[place]);
      const bool whole = real != nullptr && *real >= -0x1p63 && *real < 0x1p63 && std::trunc(*real) == *real;
      text += spell(whole ? value(static_cast<std::int64_t>(*real)) : r.values[place]) + "|";
    }
    return text;
  }

 private:
  statement quote_;
};

struct before_and_after {
  std::optional<std::string> before, after;
  friend bool operator==(const before_and_after&, const before_and_after&) = default;
};
using net = std::map<std::pair<std::string, std::string>, before_and_after>;  // by table and key

void watch_tables(recorder& database) {
  ASSERT_TRUE(database.execute("PRAGMA recursive_triggers=ON; CREATE TEMP TABLE log (t, k, old, new)"));
  statement tables(database.connection(),
                   "SELECT name, wr FROM pragma_table_list WHERE schema='main' AND type='table' "
                   "AND name NOT LIKE 'sqlite_%'");
  for (int id = 0; tables.step(); ++id) {
    const std::string name = tables.text(0);
    std::map<int, std::string> key;
    std::vector<std::string> columns;
    statement info(
        database.connection(),
        fmt::format("SELECT name, pk FROM pragma_table_xinfo({}) WHERE hidden <> 2", quoted(name)));
    while (info.step()) {
      columns.push_back(quoted(info.text(0)));
      if (const int place = sqlite3_column_int(info.handle(), 1); place > 0) key[place] = columns.back();
    }
    if (sqlite3_column_int(tables.handle(), 1) == 0) key = {{1, "rowid"}};
    const auto row_of = [&](const std::string& side) {
      std::string sql = "''";
      for (const auto& c : columns) sql += fmt::format(" || quote({}.{}) || '|'", side, c);
      return sql;
    };
    const auto key_of = [&](const std::string& side) {
      std::string sql = "''";
      for (const auto& [place, c] : key) {
        sql += fmt::format(
            " || quote(iif(typeof({0}.{1})='real' AND {0}.{1}=CAST({0}.{1} AS INT), CAST({0}.{1} AS INT), "
            "{0}.{1})) || '|'",
            side, c);
      }
      return sql;
    };
    const auto gone =
        fmt::format("INSERT INTO log VALUES ((SELECT name FROM names WHERE id={}), {}, {}, NULL);", id,
                    key_of("OLD"), row_of("OLD"));
    const auto come =
        fmt::format("INSERT INTO log VALUES ((SELECT name FROM names WHERE id={}), {}, NULL, {});", id,
                    key_of("NEW"), row_of("NEW"));
    std::string literal;
    for (const char c : name) literal += c == '\'' ? std::string("''") : std::string(1, c);
    ASSERT_TRUE(database.execute(
        fmt::format("CREATE TEMP TABLE IF NOT EXISTS names (id, name); INSERT INTO names VALUES ({0}, '{2}');"
                    "CREATE TEMP TRIGGER i{0} AFTER INSERT ON main.{1} BEGIN {4} END;"
                    "CREATE TEMP TRIGGER u{0} AFTER UPDATE ON main.{1} BEGIN {3} {4} END;"
                    "CREATE TEMP TRIGGER d{0} AFTER DELETE ON main.{1} BEGIN {3} END",
                    id, quoted(name), literal, gone, come)))
        << database.error;
  }
}

net read_log(recorder& database) {
  net logged;
  statement log(database.connection(), "SELECT t, k, old, new FROM temp.log ORDER BY rowid");
  while (log.step()) {
    const auto key = std::make_pair(log.text(0), log.text(1));
    const auto old_row = log.is_null(2) ? std::nullopt : std::optional(log.text(2));
    const auto new_row = log.is_null(3) ? std::nullopt : std::optional(log.text(3));
    const auto [at, first] = logged.emplace(key, before_and_after{old_row, new_row});
    if (!first) at->second.after = new_row;
  }
  std::erase_if(logged, [](const auto& entry) { return entry.second.before == entry.second.after; });
  return logged;
}

void check_seed(std::uint64_t seed, std::size_t least, std::size_t& total) {
  SCOPED_TRACE(fmt::format("seed {}", seed));
  std::mt19937_64 random(seed);
  recorder database({.page_size = random() % 2 ? 512 : 4096,
                     .encoding = random() % 3 ? "UTF-8" : "UTF-16le",
                     .auto_vacuum = static_cast<int>(random() % 2)});
  random_writer writer(database, random(), {.ddl = false, .nul_bytes = false, .blob_writes = false});
  for (int i = 0; i < 4; ++i) writer.create_table();
  ASSERT_NO_FATAL_FAILURE(watch_tables(database));
  database.step();
  auto opened = decoder::open(database.after);
  ASSERT_TRUE(opened.ok()) << opened.status();
  speller spelled(database.connection());
  for (std::size_t changes = 0, steps = 0; changes < least && steps < least; ++steps) {
    writer.transaction();
    const net logged = read_log(database);
    database.execute("DELETE FROM temp.log");
    net decoded;
    if (database.step()) {
      const absl::Status status =
          opened->decode(database.before, database.after, database.changed, [&](change c) {
            if (c.table == "sqlite_sequence") return absl::OkStatus();  // SQLite's own, without triggers
            const auto at = std::make_pair(c.table, spelled.spell_key(c));
            EXPECT_FALSE(decoded.contains(at)) << "twice: " << at.first << " " << at.second;
            auto& entry = decoded[at];
            if (c.before) entry.before = spelled.spell(*c.before);
            if (c.after) entry.after = spelled.spell(*c.after);
            ++changes;
            ++total;
            return absl::OkStatus();
          });
      ASSERT_TRUE(status.ok()) << status;
    }
    for (const net* side : {static_cast<const net*>(&decoded), &logged}) {
      const net& other = side == &decoded ? logged : decoded;
      for (const auto& [at, rows] : *side) {
        const auto found = other.find(at);
        ASSERT_TRUE(found != other.end() && found->second == rows)
            << (side == &decoded ? "decoded" : "logged") << " only, in step " << steps << ": " << at.first
            << " " << at.second << ": " << rows.before.value_or("-").substr(0, 300) << " -> "
            << rows.after.value_or("-").substr(0, 300);
      }
    }
  }
}

TEST(RowsDecoder, SaysWhatTriggersSay) {
  std::size_t total = 0;
  const std::size_t wanted = std::getenv("UNDERSTUDY_SOAK") != nullptr ? 1'000'000 : 20'000;
  for (std::uint64_t seed = 1; total < wanted && !HasFailure(); ++seed) {
    ASSERT_NO_FATAL_FAILURE(check_seed(seed, 2000, total));
  }
}

}  // namespace
}  // namespace understudy::rows
