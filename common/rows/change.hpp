#pragma once

// What one transaction did, as a reader of rows sees it.

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "common/rows/table.hpp"
#include "common/rows/value.hpp"

namespace understudy::rows {

enum class change_kind {
  insert,
  update,
  remove,
  create,   // an object of the schema
  alter,    // ... has other SQL text, or another name
  drop,     // ... is gone
  unclear,  // rows of this table may have changed and cannot be read: `reason`
};

// One value per column that has one in the records: `shape->columns`, without the computed ones.
struct row {
  std::shared_ptr<const table> shape;
  std::vector<value> values;
};

struct change {
  change_kind kind = change_kind::insert;
  std::string table = {};  // of rows: its name after the transaction, before it where it was dropped

  std::optional<std::int64_t> rowid = {};  // of rowid tables
  std::optional<row> before = {};          // of update and remove
  std::optional<row> after = {};           // of insert and update

  // Of create, alter and drop:
  std::string object = {};      // "table", "index", "view", "trigger"; `table` is its own name
  std::string old_name = {};    // of alter, when it was renamed
  std::string sql_before = {};  // of alter and drop
  std::string sql_after = {};   // of create and alter
  std::string reason = {};      // of unclear
};

}  // namespace understudy::rows
