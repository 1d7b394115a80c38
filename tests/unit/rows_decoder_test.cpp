// The decoder against what SQLite itself says: after every transaction all tables are read through SQLite,
// and the difference to what they were must be what was decoded, value by value.

#include "common/rows/decoder.hpp"

#include <fmt/core.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <set>

#include "common/rows/create_table.hpp"
#include "common/rows/sql_tokens.hpp"
#include "tests/support/rows/recorder.hpp"
#include "tests/unit/rows_writer.hpp"

namespace understudy::rows {
namespace {

using testing::random_writer;
using testing::recorder;
using testing::recorder_options;

struct key_order {
  bool operator()(const std::vector<value>& a, const std::vector<value>& b) const {
    for (std::size_t i = 0; i < std::min(a.size(), b.size()); ++i) {
      if (const auto o = compare(a[i], b[i]); o != 0) return o < 0;
    }
    return a.size() < b.size();
  }
};

struct table_content {
  bool without_rowid = false;
  std::vector<std::string> columns;
  std::vector<value> when_absent;  // by column
  std::map<std::vector<value>, std::vector<value>, key_order> rows;
};
using content = std::map<std::string, table_content>;

value column_value(sqlite3_stmt* s, int i) {
  const auto bytes = [&](const void* data) {
    return std::string(static_cast<const char*>(data), static_cast<std::size_t>(sqlite3_column_bytes(s, i)));
  };
  switch (sqlite3_column_type(s, i)) {
    case SQLITE_INTEGER:
      return std::int64_t{sqlite3_column_int64(s, i)};
    case SQLITE_FLOAT:
      return sqlite3_column_double(s, i);
    case SQLITE_TEXT: {
      const void* data = sqlite3_column_text(s, i);
      return text_value{bytes(data)};
    }
    case SQLITE_BLOB: {
      const void* data = sqlite3_column_blob(s, i);
      return blob_value{bytes(data)};
    }
    default:
      return {};
  }
}

template <class F>
void ask(sqlite3* connection, const std::string& sql, F take) {
  sqlite3_stmt* s = nullptr;
  ASSERT_EQ(sqlite3_prepare_v2(connection, sql.c_str(), -1, &s, nullptr), SQLITE_OK)
      << sql << ": " << sqlite3_errmsg(connection);
  while (sqlite3_step(s) == SQLITE_ROW) take(s);
  sqlite3_finalize(s);
}

std::string word(sqlite3_stmt* s, int i) {
  return reinterpret_cast<const char*>(sqlite3_column_text(s, i));
}

std::string quoted(const std::string& name) {
  std::string text = "\"";
  for (const char c : name) text += c == '"' ? std::string("\"\"") : std::string(1, c);
  return text + "\"";
}

// Everything, as SQLite reads it.
content read_all(sqlite3* connection) {
  content all;
  ask(connection,
      "SELECT l.name, l.wr, s.sql FROM pragma_table_list l JOIN sqlite_schema s ON s.name = l.name AND "
      "s.type = "
      "'table' "
      "WHERE l.schema = 'main' AND s.rootpage > 0",
      [&](sqlite3_stmt* s) {
        auto& table = all[word(s, 0)];
        table.without_rowid = sqlite3_column_int(s, 1) != 0;
        // That this is right is seen wherever a row older than its column is changed.
        const auto shape = parse_create_table(word(s, 0), word(s, 2));
        ASSERT_TRUE(shape.ok()) << shape.status();
        for (const column& c : shape->columns) {
          if (!c.computed) table.when_absent.push_back(c.when_absent.value_or(value()));
        }
      });
  for (auto& [name, known] : all) {
    auto& table = known;
    std::string list;
    std::map<int, std::size_t> key;  // by place in the key
    ask(connection, fmt::format("SELECT name, hidden, pk FROM pragma_table_xinfo({})", quoted(name)),
        [&](sqlite3_stmt* s) {
          if (sqlite3_column_int(s, 1) == 2) return;  // computed when it is read
          if (sqlite3_column_int(s, 2) > 0) key[sqlite3_column_int(s, 2)] = table.columns.size();
          table.columns.push_back(word(s, 0));
          list += ", " + quoted(word(s, 0));
        });
    const bool keyed = table.without_rowid;
    ask(connection, fmt::format("SELECT {}{} FROM {}", keyed ? "1" : "rowid", list, quoted(name)),
        [&](sqlite3_stmt* s) {
          std::vector<value> values;
          for (int i = 1; i < sqlite3_column_count(s); ++i) values.push_back(column_value(s, i));
          std::vector<value> k;
          if (keyed) {
            for (const auto& [place, column] : key) k.push_back(values[column]);
          } else {
            k.push_back(column_value(s, 0));
          }
          table.rows.emplace(std::move(k), std::move(values));
        });
  }
  return all;
}

std::string shown(const std::vector<value>& values) {
  std::string text;
  for (const value& v : values) {
    if (std::holds_alternative<std::monostate>(v)) text += "NULL";
    if (const auto* i = std::get_if<std::int64_t>(&v)) text += fmt::format("i{}", *i);
    if (const auto* r = std::get_if<double>(&v)) text += fmt::format("r{:a}", *r);
    if (const auto* t = std::get_if<text_value>(&v)) text += fmt::format("'{}'", t->bytes);
    if (const auto* b = std::get_if<blob_value>(&v)) {
      text += "x";
      for (const unsigned char c : b->bytes) text += fmt::format("{:02x}", c);
    }
    text += "|";
  }
  return text;
}

using rows_of_table = std::multiset<std::string>;

// What one transaction did, by table: as decoded, or as the two contents differ.
struct outcome {
  std::map<std::string, rows_of_table> rows;
  std::map<std::string, std::string> renamed;  // new name -> old name
  std::set<std::string> created;
  std::set<std::string> dropped;
};

std::vector<value> key_of(const change& c) {
  if (c.rowid) return {*c.rowid};
  const row& r = c.after ? *c.after : *c.before;
  std::vector<value> key;
  for (std::size_t i = 0; i < r.shape->key_columns; ++i) {
    const std::size_t column = r.shape->stored[i];
    std::size_t place = 0;
    for (std::size_t j = 0; j < column; ++j) place += !r.shape->columns[j].computed;
    key.push_back(r.values[place]);
  }
  return key;
}

void add(outcome& to, const change& c) {
  // A virtual table has no rows of its own, and SQLite's answers here leave it out.
  if (c.sql_before.starts_with("CREATE VIRTUAL") || c.sql_after.starts_with("CREATE VIRTUAL")) return;
  switch (c.kind) {
    case change_kind::insert:
      to.rows[c.table].insert("+ " + shown(key_of(c)) + " = " + shown(c.after->values));
      break;
    case change_kind::update:
      to.rows[c.table].insert("~ " + shown(key_of(c)) + " = " + shown(c.before->values) + " -> " +
                              shown(c.after->values));
      break;
    case change_kind::remove:
      to.rows[c.table].insert("- " + shown(key_of(c)) + " = " + shown(c.before->values));
      break;
    case change_kind::create:
      if (c.object == "table") to.created.insert(c.table);
      break;
    case change_kind::drop:
      if (c.object == "table") to.dropped.insert(c.table);
      break;
    case change_kind::alter:
      if (!c.old_name.empty()) to.renamed[c.table] = c.old_name;
      break;
    case change_kind::unclear:
      ADD_FAILURE() << c.table << ": " << c.reason;
  }
}

// For each column of the new table the one that it was: of the same name, or, between the same neighbours,
// the next that has none (a renamed one).
std::vector<int> former_columns(const table_content& a, const table_content& b) {
  const auto kept = [](const table_content& t, const std::string& name) {
    return std::any_of(t.columns.begin(), t.columns.end(),
                       [&](const std::string& c) { return same_name(c, name); });
  };
  // By the number of kept columns before them.
  std::map<std::size_t, std::vector<int>> gone;
  std::size_t count = 0;
  for (std::size_t i = 0; i < a.columns.size(); ++i) {
    if (kept(b, a.columns[i])) {
      ++count;
    } else {
      gone[count].push_back(static_cast<int>(i));
    }
  }
  count = 0;
  std::vector<int> former;
  for (const std::string& name : b.columns) {
    if (kept(a, name)) {
      ++count;
      std::size_t i = 0;
      while (!same_name(a.columns[i], name)) ++i;
      former.push_back(static_cast<int>(i));
      continue;
    }
    auto& candidates = gone[count];
    former.push_back(candidates.empty() ? -1 : candidates.front());
    if (!candidates.empty()) candidates.erase(candidates.begin());
  }
  return former;
}

// The same values in the columns that both have, and the default in a new one.
bool same_row(const std::vector<int>& former, const std::vector<value>& old_row, const table_content& b,
              const std::vector<value>& new_row) {
  for (std::size_t j = 0; j < former.size(); ++j) {
    const value& was = former[j] < 0 ? b.when_absent[j] : old_row[static_cast<std::size_t>(former[j])];
    if (new_row[j] != was) return false;
  }
  return true;
}

void add_rows(outcome& to, const std::string& name, const table_content* a, const table_content* b) {
  static const table_content none;
  const auto& old_rows = (a != nullptr ? *a : none).rows;
  const auto& new_rows = (b != nullptr ? *b : none).rows;
  const bool comparable = a == nullptr || b == nullptr || a->without_rowid == b->without_rowid;
  const auto former = a != nullptr && b != nullptr ? former_columns(*a, *b) : std::vector<int>();
  for (const auto& [key, values] : old_rows) {
    const auto now = comparable ? new_rows.find(key) : new_rows.end();
    if (now == new_rows.end()) {
      to.rows[name].insert("- " + shown(key) + " = " + shown(values));
    } else if (!same_row(former, values, *b, now->second)) {
      to.rows[name].insert("~ " + shown(now->first) + " = " + shown(values) + " -> " + shown(now->second));
    }
  }
  for (const auto& [key, values] : new_rows) {
    if (!comparable || !old_rows.contains(key))
      to.rows[name].insert("+ " + shown(key) + " = " + shown(values));
  }
}

outcome difference(const content& before, const content& after,
                   const std::map<std::string, std::string>& renamed) {
  outcome out;
  out.renamed = renamed;
  std::set<std::string> old_names;
  for (const auto& [name, old_name] : renamed) old_names.insert(old_name);
  for (const auto& [name, table] : after) {
    const auto was_called = renamed.find(name);
    const auto old = before.find(was_called != renamed.end() ? was_called->second : name);
    if (old == before.end()) out.created.insert(name);
    add_rows(out, name, old != before.end() ? &old->second : nullptr, &table);
  }
  for (const auto& [name, table] : before) {
    if (after.contains(name) || old_names.contains(name)) continue;
    out.dropped.insert(name);
    add_rows(out, name, &table, nullptr);
  }
  return out;
}

// The first few rows that are in `a` and not in `b`.
std::string unexpected(const outcome& a, const outcome& b) {
  std::string text;
  int count = 0;
  for (const auto& [name, rows] : a.rows) {
    const auto others = b.rows.find(name);
    for (const std::string& r : rows) {
      if (others != b.rows.end() && others->second.count(r) == rows.count(r)) continue;
      if (++count < 6) text += fmt::format("{}: {}\n", name, r.substr(0, 400));
    }
  }
  return text;
}

recorder_options random_options(std::mt19937_64& random) {
  static constexpr int sizes[] = {512, 1024, 1024, 4096, 65536};
  static constexpr const char* encodings[] = {"UTF-8", "UTF-8", "UTF-16le", "UTF-16be"};
  return {.page_size = sizes[random() % 5],
          .encoding = encodings[random() % 4],
          .auto_vacuum = static_cast<int>(random() % 3),
          .reserved = random() % 4 == 0 ? 24 : 0};
}

bool soaking() {
  return std::getenv("UNDERSTUDY_SOAK") != nullptr;
}

void check_seed(std::uint64_t seed, std::size_t least_changes, std::size_t& total) {
  SCOPED_TRACE(fmt::format("UNDERSTUDY_ROWS_SEED={}", seed));
  std::mt19937_64 random(seed);
  recorder database(random_options(random));
  random_writer writer(database, random(), {});
  for (int i = 0; i < 3; ++i) writer.create_table();
  database.step();
  auto opened = decoder::open(database.after,
                              {.largest_value = 1 << 20, .rows_at_once = random() % 2 ? 100u : 1u << 20});
  ASSERT_TRUE(opened.ok()) << opened.status();
  content before = read_all(database.connection());
  for (std::size_t changes = 0, steps = 0; changes < least_changes && steps < least_changes; ++steps) {
    writer.transaction();
    if (random() % 10 == 0) writer.transaction();  // several at once, as a heal brings them
    if (!database.step()) continue;
    outcome decoded;
    const absl::Status status =
        opened->decode(database.before, database.after, database.changed, [&](change c) {
          add(decoded, c);
          ++changes;
          ++total;
          return absl::OkStatus();
        });
    ASSERT_TRUE(status.ok()) << status << " in step " << steps;
    content after = read_all(database.connection());
    const outcome expected = difference(before, after, decoded.renamed);
    EXPECT_EQ(decoded.created, expected.created) << "step " << steps;
    EXPECT_EQ(decoded.dropped, expected.dropped) << "step " << steps;
    ASSERT_EQ(unexpected(decoded, expected), "") << "decoded, but not so, in step " << steps;
    ASSERT_EQ(unexpected(expected, decoded), "") << "not decoded in step " << steps;
    before = std::move(after);
  }
}

TEST(RowsDecoder, SaysWhatSqliteSays) {
  std::size_t total = 0;
  if (const char* one = std::getenv("UNDERSTUDY_ROWS_SEED")) {
    check_seed(std::strtoull(one, nullptr, 10), 2000, total);
    return;
  }
  const std::size_t wanted = soaking() ? 1'000'000 : 20'000;
  for (std::uint64_t seed = 1; total < wanted && !HasFailure(); ++seed) {
    ASSERT_NO_FATAL_FAILURE(check_seed(seed, 1000, total));
  }
  RecordProperty("changes", static_cast<int>(total));
}

}  // namespace
}  // namespace understudy::rows
