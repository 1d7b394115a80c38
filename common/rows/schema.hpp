#pragma once

// What sqlite_schema says.

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/rows/image.hpp"
#include "common/rows/table.hpp"

namespace understudy::rows {

// A row of sqlite_schema.
struct schema_object {
  std::string type;  // "table", "index", "view", "trigger"
  std::string name;
  std::string table_name;
  std::uint32_t root = 0;
  std::string sql;
  friend bool operator==(const schema_object&, const schema_object&) = default;
};

// A table with rows of its own: not a view, not a virtual table.
struct stored_table {
  std::shared_ptr<const table> shape;
  std::uint32_t root = 0;
  std::string not_understood;  // empty, or why its rows cannot be read; then `shape` has only name and sql
};

struct schema {
  std::vector<schema_object> objects;  // by type and name
  std::vector<stored_table> tables;    // by name; sqlite_schema itself is the first
};

// kDataLoss when damaged. Tables of `known` that are still the same are taken over.
absl::StatusOr<schema> read_schema(image& from, const schema& known);

}  // namespace understudy::rows
