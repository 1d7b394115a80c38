#pragma once

// What is different between the rows of one table in two images, given the pages where it may be.

#include <functional>

#include "absl/status/status.h"
#include "common/rows/decoder.hpp"
#include "common/rows/page_owners.hpp"

namespace understudy::rows {

// One side of the comparison. `shape` null: the table is not there.
struct table_side {
  image& from;
  std::shared_ptr<const table> shape;
  std::vector<row_page> pages;
};

// Calls `sink` for each row that was inserted, updated or removed, ascending by rowid or key. Memory: one
// page of each side, a few bytes per page given, and of WITHOUT ROWID tables `options.rows_at_once` keys.
absl::Status compare_rows(table_side before, table_side after,
                          const absl::flat_hash_set<std::uint32_t>& changed_overflow,
                          const decoder_options& options, const change_sink& sink);

}  // namespace understudy::rows
