#include "agent-failover/tables/table_merge.hpp"

#include <fmt/core.h>
#include <sqlite3.h>

#include <algorithm>
#include <functional>
#include <utility>

#include "agent-failover/tables/image_vfs.hpp"
#include "common/rows/create_table.hpp"
#include "common/sqlite/database.hpp"
#include "common/sqlite/wal_format.hpp"
#include "common/status/status_macros.hpp"
#include "common/status/status_text.hpp"

namespace understudy::tables {
namespace {

constexpr const char* copy_name = "copy";
constexpr const char* named_name = "named";
constexpr std::size_t formats_at = 18;       // in the file header; SQLite saw others, see image_vfs.cpp
constexpr int instructions_per_look = 1000;  // of SQLite's machine; one may take milliseconds

std::string in_quotes(std::string_view text, char quote) {
  std::string result(1, quote);
  for (const char c : text) result += c == quote ? std::string(2, c) : std::string(1, c);
  return result + quote;
}
std::string quoted(std::string_view name) {
  return in_quotes(name, '"');
}
std::string literal(std::string_view words) {
  return in_quotes(words, '\'');
}

struct definition {
  std::string type;
  std::string name;
  std::string sql;
  friend bool operator==(const definition&, const definition&) = default;
};

// The definitions come from the wire: none of them reaches beyond the two images.
int only_the_images(void*, int what, const char* first, const char*, const char*, const char*) {
  switch (what) {
    case SQLITE_PRAGMA:
      return std::string_view(first) == "table_xinfo" ? SQLITE_OK : SQLITE_DENY;
    case SQLITE_ATTACH:
    case SQLITE_DETACH:
    case SQLITE_CREATE_VTABLE:
    case SQLITE_DROP_VTABLE:
    case SQLITE_CREATE_TEMP_TABLE:
    case SQLITE_CREATE_TEMP_INDEX:
    case SQLITE_CREATE_TEMP_TRIGGER:
    case SQLITE_CREATE_TEMP_VIEW:
    case SQLITE_CREATE_VIEW:
      return SQLITE_DENY;
    default:
      return SQLITE_OK;
  }
}

// The objects of a table: itself first, then indexes and triggers. Those that SQLite makes by itself have no
// SQL.
absl::StatusOr<std::vector<definition>> definitions(sqlite::database& db, const char* schema,
                                                    const std::string& table) {
  UNDERSTUDY_ASSIGN_OR_RETURN(
      auto rows,
      db.prepare(fmt::format(
          "SELECT type, name, sql FROM {}.sqlite_schema WHERE tbl_name={} COLLATE NOCASE AND sql IS NOT "
          "NULL AND type IN ('table','index','trigger') ORDER BY type='table' DESC, type, name",
          schema, literal(table))));
  std::vector<definition> all;
  for (;;) {
    UNDERSTUDY_ASSIGN_OR_RETURN(const bool more, rows.step());
    if (!more) return all;
    all.push_back({.type = std::string(rows.column_text(0)),
                   .name = std::string(rows.column_text(1)),
                   .sql = std::string(rows.column_text(2))});
  }
}

struct shape {
  std::vector<std::string> columns;  // that can be inserted, quoted
  std::vector<std::string> key;      // what tells a row: the rowid by one of its names, or the primary key
  // How the image is read: of a rowid table it has no index. A WITHOUT ROWID table has all of its own there.
  std::string access = "NOT INDEXED";
};

absl::StatusOr<shape> shape_of(sqlite::database& db, const std::string& table, const std::string& sql) {
  shape s;
  // Not by pragma_table_list: it would connect to virtual tables, whose own are not in the image.
  UNDERSTUDY_ASSIGN_OR_RETURN(const rows::table parsed, rows::parse_create_table(table, sql));
  std::vector<std::pair<std::int64_t, std::string>> key;
  std::vector<std::string> names;
  UNDERSTUDY_ASSIGN_OR_RETURN(
      auto columns,
      db.prepare(fmt::format("SELECT name, pk, hidden FROM pragma_table_xinfo({},'main')", literal(table))));
  for (;;) {
    UNDERSTUDY_ASSIGN_OR_RETURN(const bool more, columns.step());
    if (!more) break;
    const std::string name(columns.column_text(0));
    names.push_back(name);
    if (columns.column_integer(2) != 0) continue;  // generated
    s.columns.push_back(quoted(name));
    if (columns.column_integer(1) > 0) key.emplace_back(columns.column_integer(1), quoted(name));
  }
  if (parsed.without_rowid) {
    std::sort(key.begin(), key.end());
    for (auto& [place, name] : key) s.key.push_back(std::move(name));
    s.access.clear();
    return s;
  }
  for (const char* name : {"rowid", "_rowid_", "oid"}) {
    const bool taken = std::any_of(names.begin(), names.end(), [&](const std::string& n) {
      return sqlite3_stricmp(n.c_str(), name) == 0;
    });
    if (taken) continue;
    s.key.emplace_back(name);
    return s;
  }
  return absl::UnimplementedError("its columns have all the names of the rowid");
}

std::string joined(const std::vector<std::string>& parts, const char* between,
                   const std::function<std::string(const std::string&)>& each) {
  std::string text;
  for (const auto& part : parts) text += (text.empty() ? "" : between) + each(part);
  return text;
}

// Rows that are not the same on both sides go first, so that what is unique stays so at every moment.
absl::Status equal_rows(sqlite::database& db, const std::string& table, const std::string& sql) {
  UNDERSTUDY_ASSIGN_OR_RETURN(const shape s, shape_of(db, table, sql));
  const std::string name = quoted(table);
  const std::string same_key =
      joined(s.key, " AND ", [](const std::string& k) { return fmt::format("n.{0}=m.{0}", k); });
  std::string same = same_key;
  for (const std::string& c : s.columns)
    same += fmt::format(" AND typeof(n.{0})=typeof(m.{0}) AND n.{0} IS m.{0} COLLATE BINARY", c);
  UNDERSTUDY_RETURN_IF_ERROR(db.execute(
      fmt::format("DELETE FROM main.{0} AS m WHERE NOT EXISTS (SELECT 1 FROM named.{0} AS n {1} WHERE {2})",
                  name, s.access, same)));
  std::vector<std::string> all = s.columns;
  if (!s.access.empty()) all.insert(all.begin(), s.key.front());
  return db.execute(fmt::format(
      "INSERT INTO main.{0}({1}) SELECT {2} FROM named.{0} AS n {3} WHERE NOT EXISTS (SELECT 1 FROM "
      "main.{0} AS m WHERE {4})",
      name, joined(all, ",", [](const std::string& c) { return c; }),
      joined(all, ",", [](const std::string& c) { return "n." + c; }), s.access, same_key));
}

absl::Status equal_table(sqlite::database& db, const std::string& table) {
  UNDERSTUDY_ASSIGN_OR_RETURN(const auto wanted, definitions(db, "named", table));
  UNDERSTUDY_ASSIGN_OR_RETURN(const auto present, definitions(db, "main", table));
  if (wanted != present) {
    if (!present.empty()) UNDERSTUDY_RETURN_IF_ERROR(db.execute("DROP TABLE main." + quoted(table)));
    for (const definition& object : wanted) {
      // Of another table in the copy; the primary gave the name to this one since.
      if (object.type != "table") {
        UNDERSTUDY_RETURN_IF_ERROR(
            db.execute(fmt::format("DROP {} IF EXISTS main.{}", object.type, quoted(object.name))));
      }
      // The first statement of the text, as SQLite itself reads it.
      UNDERSTUDY_ASSIGN_OR_RETURN(auto define, db.prepare(object.sql));
      UNDERSTUDY_RETURN_IF_ERROR(define.run());
    }
  }
  return wanted.empty() ? absl::OkStatus() : equal_rows(db, table, wanted.front().sql);
}

// A schema or a statement that needs the application's own functions does not get better by waiting.
absl::Status explained(const absl::Status& status, const std::string& table) {
  if (absl::IsResourceExhausted(status)) return status;
  const std::string text =
      fmt::format("{} cannot be applied to the copy: {}",
                  table.empty() ? "the named tables" : "table " + table, std::string(message_of(status)));
  if (absl::IsDataLoss(status)) return absl::DataLossError(text);
  return absl::UnimplementedError(text);
}

absl::StatusOr<merged_image> difference(rows::page_source& copy, overlaid_image& result) {
  merged_image out{.pages = {}, .database_pages = result.pages};
  std::string before(copy.page_size(), '\0');
  // A page that was taken and given up again was never written: zeros, of which the copy's hashes know.
  for (std::uint64_t number = std::uint64_t{copy.page_count()} + 1; number <= result.pages; ++number) {
    const auto page = static_cast<std::uint32_t>(number);
    if (page != sqlite::lock_page(copy.page_size()))
      result.written.try_emplace(page, std::string(copy.page_size(), '\0'));
  }
  for (auto& [number, bytes] : result.written) {
    if (number > result.pages) continue;
    const bool known = number <= copy.page_count();
    if (known) {
      UNDERSTUDY_RETURN_IF_ERROR(copy.read_page(number, std::as_writable_bytes(std::span(before))));
      if (number == 1) bytes.replace(formats_at, 2, before, formats_at, 2);
    }
    if (!known || bytes != before) out.pages.push_back({.number = number, .bytes = std::move(bytes)});
  }
  return out;
}

}  // namespace

absl::StatusOr<merged_image> merge_tables(rows::page_source& copy, rows::page_source& named,
                                          const std::vector<std::string>& tables,
                                          const merge_limits& limits) {
  image_vfs vfs;
  overlaid_image& result = vfs.add(copy_name, copy);
  overlaid_image& other = vfs.add(named_name, named);
  result.most_written = limits.most_bytes / std::max(copy.page_size(), 1u);
  const auto deadline = std::chrono::steady_clock::now() + limits.within;
  {
    UNDERSTUDY_ASSIGN_OR_RETURN(auto db,
                                sqlite::database::open(copy_name, {.vfs = vfs.name(), .create = false}));
    sqlite3_db_config(db.handle(), SQLITE_DBCONFIG_ENABLE_TRIGGER, 0, nullptr);
    sqlite3_db_config(db.handle(), SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, nullptr);
    const auto judge = [&](const std::string& table, const absl::Status& status) {
      if (!result.trouble.ok()) return result.trouble;
      if (!other.trouble.ok()) return other.trouble;
      if (!status.ok() && std::chrono::steady_clock::now() >= deadline) {
        return absl::DeadlineExceededError(fmt::format(
            "the named tables could not be brought into the copy within {} s", limits.within.count()));
      }
      return status.ok() ? status : explained(status, table);
    };
    UNDERSTUDY_RETURN_IF_ERROR(
        judge("", db.execute(fmt::format("PRAGMA journal_mode=OFF; PRAGMA locking_mode=EXCLUSIVE; PRAGMA "
                                         "temp_store=MEMORY; PRAGMA foreign_keys=OFF; PRAGMA "
                                         "ignore_check_constraints=ON; ATTACH '{}' AS named; PRAGMA "
                                         "named.journal_mode=OFF; BEGIN",
                                         named_name))));
    sqlite3_set_authorizer(db.handle(), only_the_images, nullptr);
    sqlite3_progress_handler(
        db.handle(), instructions_per_look,
        [](void* at) -> int {
          return *static_cast<const std::chrono::steady_clock::time_point*>(at) <=
                 std::chrono::steady_clock::now();
        },
        const_cast<std::chrono::steady_clock::time_point*>(&deadline));
    for (const std::string& table : tables) UNDERSTUDY_RETURN_IF_ERROR(judge(table, equal_table(db, table)));
    UNDERSTUDY_RETURN_IF_ERROR(judge("", db.execute("COMMIT")));
  }
  return difference(copy, result);
}

}  // namespace understudy::tables
