#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/channel/database_source.hpp"
#include "common/rows/page_source.hpp"

namespace understudy::tables {

// What makes of one image another: the pages that differ, and its size.
struct merged_image {
  std::vector<channel::page_image> pages;
  std::uint32_t database_pages = 0;
};

// A source that lies must not take the host's memory or time: tables of what the sink keeps at most stay far
// below both.
struct merge_limits {
  std::uint64_t most_bytes = 1 << 30;  // of pages written
  std::chrono::seconds within{60};
};

// The copy with the named tables as in the other image (tables.proto says which of its pages are there):
// definition, indexes and triggers of a table that differs in any of them, and rows. All else in the copy
// stays. By SQLite itself, so what comes out is a database that it wrote. Triggers and foreign keys do not
// fire: what they did on the primary is in its tables.
//
// A table that is in neither image is none. An error leaves nothing behind: kUnimplemented, with the table's
// name, where SQLite alone cannot do it (collations or functions of the application, a virtual table);
// kResourceExhausted and kDeadlineExceeded where the limits end it.
absl::StatusOr<merged_image> merge_tables(rows::page_source& copy, rows::page_source& named,
                                          const std::vector<std::string>& tables,
                                          const merge_limits& limits = {});

}  // namespace understudy::tables
