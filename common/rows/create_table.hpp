#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "common/rows/table.hpp"

namespace understudy::rows {

// Reads a CREATE TABLE as sqlite_schema keeps it. Pure; the text may be anything. kUnimplemented: it is not
// understood, and the table's records cannot be read without guessing.
absl::StatusOr<table> parse_create_table(std::string_view name, std::string_view sql);

}  // namespace understudy::rows
