#pragma once

// What one has to know of a table to read its rows.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "common/rows/value.hpp"

namespace understudy::rows {

struct column {
  std::string name;
  affinity kind = affinity::blob;
  bool computed = false;  // GENERATED ... VIRTUAL: in no record
  // What short records, older than the column, have here. nullopt: an expression that is not understood.
  std::optional<value> when_absent = value();
  friend bool operator==(const column&, const column&) = default;
};

struct table {
  std::string name;
  std::string sql;  // as in sqlite_schema
  bool without_rowid = false;
  std::vector<column> columns;             // as declared
  std::optional<std::size_t> rowid_alias;  // the column that is the rowid (INTEGER PRIMARY KEY)
  // Columns in the order in which records have them; of WITHOUT ROWID tables the first `key_columns` are the
  // key.
  std::vector<std::size_t> stored;
  std::size_t key_columns = 0;
};

}  // namespace understudy::rows
