#include "tests/unit/rows_writer.hpp"

#include <fmt/core.h>
#include <fmt/format.h>

namespace understudy::rows::testing {
namespace {

std::string quoted(const std::string& name) {
  std::string text = "\"";
  for (const char c : name) text += c == '"' ? std::string("\"\"") : std::string(1, c);
  return text + "\"";
}

constexpr std::size_t most_tables = 7;

}  // namespace

std::string random_writer::target::any_writable(random_writer& by) const {
  for (int tries = 0; tries < 20; ++tries) {
    const column& c = columns[by.below(columns.size())];
    if (c.writable) return c.name;
  }
  return columns[0].name;
}

std::string random_writer::text(std::size_t longest) {
  static constexpr const char* pieces[] = {
      "a", "B", "ab", "7", "''", " ", "\xc3\xa9", "\xe6\xb0\xb4", "\xf0\x9f\x8e\xad", "-1", "e5"};
  std::string s;
  for (std::size_t i = below(longest + 1); i > 0; --i) s += any(pieces);
  if (how_.nul_bytes && one_in(40)) return "'" + s + "'||char(0)||'z'";
  return "'" + s + "'";
}

std::string random_writer::value() {
  switch (below(14)) {
    case 0:
      return "NULL";
    case 1:
      return fmt::format("{}", below(3));
    case 2:
      return fmt::format("-{}", below(300));
    case 3:
      return fmt::format("{}", below(1u << 20));
    case 4:
      return fmt::format("{}", static_cast<std::int64_t>(random_()) / 3);
    case 5:
      return fmt::format("{}.0", below(1000));
    case 6:
      return fmt::format("{}e{}", static_cast<double>(below(1000)) / 7, static_cast<int>(below(40)) - 20);
    case 7:
      return fmt::format("x'{:0{}x}'", below(256), 2 * (1 + below(4)));
    case 8:
      return one_in(4) ? fmt::format("zeroblob({})", below(one_in(20) ? 30000 : 3000)) : text(12);
    case 9:
      return one_in(4) ? fmt::format("replace(hex(zeroblob({})),'00','ab')", below(one_in(20) ? 20000 : 2000))
                       : text(5);
    case 10:
      return one_in(3) ? text(400) : text(20);
    default:
      return text(8);
  }
}

std::string random_writer::some_rows(const target& t) {
  if (t.has_rowid && one_in(2)) {
    if (one_in(6)) return fmt::format("rowid > {}", below(200));
    if (one_in(2)) return fmt::format("rowid BETWEEN {0} AND {0} + {1}", below(300), below(12));
    return fmt::format("rowid % {} = 0", 2 + below(60));
  }
  const std::string& c = t.columns[below(t.columns.size())].name;
  return fmt::format("length(quote({})) % {} = 1", c, 2 + below(40));
}

const std::vector<random_writer::target>& random_writer::targets() {
  if (!targets_.empty()) return targets_;
  const auto ask = [&](const std::string& sql, auto take) {
    sqlite3_stmt* s = nullptr;
    sqlite3_prepare_v2(db_.connection(), sql.c_str(), -1, &s, nullptr);
    while (sqlite3_step(s) == SQLITE_ROW) take(s);
    sqlite3_finalize(s);
  };
  const auto word = [](sqlite3_stmt* s, int i) {
    return std::string(reinterpret_cast<const char*>(sqlite3_column_text(s, i)));
  };
  ask("SELECT name, wr, type FROM pragma_table_list WHERE schema='main' AND type IN ('table','virtual') AND "
      "name NOT LIKE 'sqlite_%'",
      [&](sqlite3_stmt* s) {
        targets_.push_back({.name = quoted(word(s, 0)),
                            .plain = word(s, 0),
                            .has_rowid = sqlite3_column_int(s, 1) == 0,
                            .columns = {}});
      });
  for (target& t : targets_) {
    ask(fmt::format("SELECT name, hidden FROM pragma_table_xinfo({})", t.name), [&](sqlite3_stmt* s) {
      if (sqlite3_column_int(s, 1) != 1)
        t.columns.push_back({.name = quoted(word(s, 0)), .writable = sqlite3_column_int(s, 1) == 0});
    });
  }
  if (targets_.empty()) {
    create_table();
    return targets();
  }
  return targets_;
}

void random_writer::create_table() {
  static constexpr const char* types[] = {"",
                                          "INTEGER",
                                          "INT",
                                          "TEXT",
                                          "VARCHAR(20)",
                                          "REAL",
                                          "DOUBLE PRECISION",
                                          "BLOB",
                                          "NUMERIC",
                                          "FLOATING POINT",
                                          "DECIMAL(10,5)",
                                          "BOOLEAN",
                                          "CHARINT",
                                          "\"my type\""};
  static constexpr const char* collations[] = {"", " COLLATE NOCASE", " COLLATE RTRIM", " COLLATE BINARY"};
  static constexpr const char* defaults[] = {" DEFAULT 5", " DEFAULT -1.5", " DEFAULT 'x''y'",
                                             " DEFAULT (2+3)", " DEFAULT NULL"};
  const int id = names_++;
  const std::string name = one_in(4) ? fmt::format("we ird'{}\"", id) : fmt::format("t{}", id);
  const bool without_rowid = one_in(3);
  std::string columns, key;
  const std::size_t count = 2 + below(one_in(15) ? 60 : 6);
  const std::uint64_t key_style = below(7);
  for (std::size_t i = 0; i < count; ++i) {
    const std::string c = one_in(5) ? fmt::format("[c {}]", i) : fmt::format("c{}", i);
    if (i > 0) columns += one_in(5) ? ", -- a comment, with (\n" : ", ";
    if (i == 0 && key_style == 0) {
      columns += c + (without_rowid ? " TEXT PRIMARY KEY DESC" : " INTEGER PRIMARY KEY AUTOINCREMENT");
      key = "-";
      continue;
    }
    if (i == 0 && key_style == 1) {
      columns += c + (one_in(2) ? " integer primary KEY" : " INTEGER PRIMARY KEY DESC");
      key = "-";
      continue;
    }
    if (i > 1 && one_in(9)) {
      columns += fmt::format("{} {} GENERATED ALWAYS AS (quote(c1) || {}) {}", c, any(types), i,
                             one_in(2)   ? "STORED"
                             : one_in(2) ? "VIRTUAL"
                                         : "");
      continue;
    }
    columns += fmt::format("{} {}{}{}", i == 1 ? "c1" : c, any(types), any(collations),
                           one_in(4) ? any(defaults) : "");
    if (key.size() < 20 && one_in(2) && key_style > 2 && i != 1) {
      key += (key.empty() ? "" : ", ") + c + (one_in(3) ? " DESC" : "");
    }
  }
  if (key.empty()) key = without_rowid ? "c1" : "";
  if (!key.empty() && key != "-") columns += fmt::format(", PRIMARY KEY ({})", key);
  if (one_in(4)) columns += ", CONSTRAINT \"a check\" CHECK (1 = 1)";
  db_.execute(
      fmt::format("CREATE TABLE {} ({}){}", quoted(name), columns, without_rowid ? " WITHOUT ROWID" : ""));
  targets_.clear();
}

void random_writer::insert(const target& t) {
  const bool with_rowid = t.has_rowid && one_in(3);
  std::string columns = with_rowid ? "rowid" : "";
  std::size_t count = 0;
  for (const column& c : t.columns) {
    if (!c.writable) continue;
    columns += (columns.empty() ? "" : ", ") + c.name;
    ++count;
  }
  std::string rows;
  for (std::size_t i = 1 + below(one_in(5) ? 40 : 6); i > 0; --i) {
    std::string values = with_rowid ? (one_in(10) ? fmt::format("{}", static_cast<std::int64_t>(random_()))
                                                  : fmt::format("{}", below(400)))
                                    : "";
    for (std::size_t c = 0; c < count; ++c) values += (values.empty() ? "" : ", ") + value();
    rows += (rows.empty() ? "(" : ", (") + values + ")";
  }
  db_.execute(fmt::format("INSERT OR {} INTO {} ({}) VALUES {}", one_in(3) ? "REPLACE" : "IGNORE", t.name,
                          columns, rows));
}

void random_writer::update(const target& t) {
  const std::string c = t.any_writable(*this);
  std::string set = one_in(4)
                        ? fmt::format("{0} = iif(typeof({0}) = 'text', replace({0}, 'ab', 'cd'), {0})", c)
                    : one_in(4) ? fmt::format("{0} = {0}", c)
                    : one_in(4) ? fmt::format("{} = {}, {} = {}", c, value(), t.any_writable(*this), value())
                                : fmt::format("{} = {}", c, value());
  if (t.has_rowid && one_in(12)) set = fmt::format("rowid = rowid + {}", below(1000));
  db_.execute(fmt::format("UPDATE OR {} {} SET {} WHERE {}", one_in(3) ? "REPLACE" : "IGNORE", t.name, set,
                          some_rows(t)));
}

// Changes overflow pages and nothing else.
void random_writer::write_into_blob(const target& t) {
  if (!t.has_rowid || !how_.blob_writes) return;
  for (const column& c : t.columns) {
    if (!c.writable) continue;
    sqlite3_stmt* s = nullptr;
    const auto sql =
        fmt::format("SELECT rowid FROM {} WHERE length({}) > 1500 AND typeof({}) IN ('blob','text')", t.name,
                    c.name, c.name);
    if (sqlite3_prepare_v2(db_.connection(), sql.c_str(), -1, &s, nullptr) != SQLITE_OK) continue;
    const bool found = sqlite3_step(s) == SQLITE_ROW;
    const std::int64_t rowid = found ? sqlite3_column_int64(s, 0) : 0;
    sqlite3_finalize(s);
    if (!found) continue;
    sqlite3_blob* blob = nullptr;
    const std::string plain = c.name.substr(1, c.name.size() - 2);
    if (sqlite3_blob_open(db_.connection(), "main", t.plain.c_str(), plain.c_str(), rowid, 1, &blob) ==
        SQLITE_OK) {
      const int size = sqlite3_blob_bytes(blob);
      sqlite3_blob_write(blob, "ef", 2,
                         static_cast<int>(below(static_cast<std::uint64_t>(size) / 2 - 2)) * 2);
    }
    sqlite3_blob_close(blob);
    return;
  }
}

void random_writer::change_rows() {
  const auto& all = targets();
  const target t = all[below(all.size())];
  switch (below(12)) {
    case 0:
    case 1:
    case 2:
    case 3:
    case 4:
      return insert(t);
    case 5:
    case 6:
    case 7:
      return update(t);
    case 8:
      return write_into_blob(t);
    case 9:
      if (one_in(12)) db_.execute(fmt::format("DELETE FROM {}", t.name));
      return;
    default:
      db_.execute(fmt::format("DELETE FROM {} WHERE {}", t.name, some_rows(t)));
  }
}

void random_writer::change_schema() {
  static constexpr const char* added[] = {"x%d",
                                          "x%d INTEGER DEFAULT 7",
                                          "x%d TEXT DEFAULT 12",
                                          "x%d REAL DEFAULT 3",
                                          "x%d DEFAULT 1e2",
                                          "x%d NUMERIC DEFAULT '8.50'",
                                          "x%d BLOB DEFAULT x'00ff'",
                                          "x%d INT DEFAULT TRUE",
                                          "x%d TEXT DEFAULT 'ab' COLLATE NOCASE NOT NULL",
                                          "x%d DEFAULT -9223372036854775808",
                                          "x%d AS (c1) VIRTUAL",
                                          "x%d REAL DEFAULT (-(4))",
                                          "x%d TEXT DEFAULT 1.50",
                                          "x%d DEFAULT 0x1F",
                                          "x%d INT DEFAULT abc REFERENCES t0 ON DELETE SET NULL"};
  const auto& all = targets();
  const target t = all[below(all.size())];
  const int id = names_++;
  targets_.clear();
  switch (below(11)) {
    case 0:
    case 1:
      if (all.size() < most_tables) create_table();
      return;
    case 2:
      if (all.size() > 2 && one_in(2)) db_.execute(fmt::format("DROP TABLE {}", t.name));
      return;
    case 3:
      db_.execute(fmt::format("ALTER TABLE {} RENAME TO \"r{}\"", t.name, id));
      return;
    case 4:
    case 5: {
      char text[120];
      std::snprintf(text, sizeof text, any(added), id);
      db_.execute(fmt::format("ALTER TABLE {} ADD COLUMN {}", t.name, text));
      return;
    }
    case 6:
      db_.execute(fmt::format("ALTER TABLE {} RENAME COLUMN {} TO n{}", t.name, t.any_writable(*this), id));
      return;
    case 7:
      if (t.columns.size() > 2)
        db_.execute(fmt::format("ALTER TABLE {} DROP COLUMN {}", t.name, t.any_writable(*this)));
      return;
    case 8:
      db_.execute(fmt::format("CREATE INDEX i{} ON {} ({})", id, t.name, t.any_writable(*this)));
      return;
    case 9:
      // The procedure of https://sqlite.org/lang_altertable.html#otheralter
      db_.execute(fmt::format(
          "CREATE TABLE made{0} AS SELECT * FROM {1}; DROP TABLE {1}; ALTER TABLE made{0} RENAME TO {1}", id,
          t.name));
      return;
    default:
      if (one_in(3))
        db_.execute(fmt::format("CREATE VIRTUAL TABLE IF NOT EXISTS words USING fts5(a, b)"));
      else if (one_in(2))
        db_.execute("ANALYZE");
      else
        db_.execute(fmt::format("CREATE TABLE copy{} AS SELECT * FROM {}", id, t.name));
      if (all.size() > most_tables) db_.execute(fmt::format("DROP TABLE {}", t.name));
      return;
  }
}

void random_writer::transaction() {
  if (how_.ddl && one_in(60)) {
    db_.execute(one_in(2) ? "VACUUM" : "PRAGMA incremental_vacuum(5)");
    return;
  }
  db_.execute("BEGIN");
  if (how_.ddl && one_in(8)) {
    change_schema();
    if (one_in(3)) change_schema();
  }
  for (std::uint64_t i = below(one_in(10) ? 30 : 5) + 1; i > 0; --i) {
    const bool tried = one_in(8);
    if (tried) db_.execute("SAVEPOINT s");
    change_rows();
    if (tried) db_.execute("ROLLBACK TO s");
  }
  if (one_in(25)) {
    db_.execute("ROLLBACK");
    targets_.clear();
  } else {
    db_.execute("COMMIT");
  }
}

}  // namespace understudy::rows::testing
