#pragma once

// Which table a page belongs to, kept up to date from one image to the next at a cost that goes with what
// changed.
//
// For every page that the tables' trees reach it has the page that points to it; a page's table is found by
// going up to a root. Five bytes a page. Indexes, free pages and pointer maps are not in it: nothing points
// to them.
//
// What always holds: where page p is recorded as the parent of c, p's present content, read as the kind
// recorded of p, points to c. Pages that were dropped from the trees without being written keep their
// records, for their content has not changed either; they are dead because the way up ends before a root.

#include <absl/container/flat_hash_map.h>
#include <absl/container/flat_hash_set.h>

#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/rows/btree_page.hpp"
#include "common/rows/image.hpp"

namespace understudy::rows {

// A root and the tree below it; `owner` is the caller's number for the table, and the same for two images
// where it is the same table.
struct tree {
  std::size_t owner = 0;
  tree_kind kind = tree_kind::table;
};
using tree_roots = absl::flat_hash_map<std::uint32_t, tree>;  // by page

// A page with rows of one table.
struct row_page {
  std::uint32_t page = 0;
  std::uint32_t cells = 0;
  std::int64_t first_rowid = 0;  // of table trees
};

// Where rows of one table may differ between two images. A row that is in no page of either list is the same
// in both; a row that is the same may be in both lists.
struct row_pages {
  std::vector<row_page> before;
  std::vector<row_page> after;
};

struct affected_pages {
  absl::flat_hash_map<std::size_t, row_pages> tables;  // by owner
  // First overflow pages of rows of which any overflow page changed.
  absl::flat_hash_set<std::uint32_t> changed_overflow;
};

class page_owners {
 public:
  // From one image to the next. `changed`: the pages that may differ, ascending; pages that the database
  // shrank by are added here. After an error the records are of no use any more. From nothing: give an image
  // without pages, and no roots, as `before`.
  absl::StatusOr<affected_pages> advance(image& before, const tree_roots& roots_before, image& after,
                                         const tree_roots& roots_after,
                                         std::span<const std::uint32_t> changed);

  // True when one of `changed` is a page of the table with this root, overflow pages included. Call it before
  // advance().
  bool any_below(std::uint32_t root, std::span<const std::uint32_t> changed) const;

 private:
  friend class advance_pass;
  enum class role : std::uint8_t { none, table, index, overflow };

  std::vector<std::uint32_t> parent_;  // by page; 0: none
  std::vector<role> role_;             // how its content is read
};

}  // namespace understudy::rows
