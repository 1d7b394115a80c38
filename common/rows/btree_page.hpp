#pragma once

// One b-tree page, taken apart: https://sqlite.org/fileformat2.html#b_tree_pages. Pure; every number is
// checked.

#include <cstdint>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace understudy::rows {

enum class tree_kind {
  table,  // rowid tables: rows in the leaves, by rowid
  index,  // WITHOUT ROWID tables: rows in all pages, by key
};

struct cell {
  std::uint32_t child = 0;         // of interior pages
  std::int64_t rowid = 0;          // of table trees; of an interior cell a bound, not a row
  std::uint64_t payload_size = 0;  // bytes, overflow included; 0 for interior cells of table trees
  std::uint32_t local_begin = 0;   // where in the page the payload begins
  std::uint32_t local_size = 0;
  std::uint32_t overflow = 0;  // first overflow page, or 0
};

struct btree_page {
  bool leaf = false;
  std::uint32_t right_child = 0;  // of interior pages
  std::vector<cell> cells;
  bool has_rows(tree_kind kind) const { return kind == tree_kind::index || leaf; }
};

// `bytes`: the page; `usable` of them count; `first`: it is page 1, with the file header before its own.
absl::StatusOr<btree_page> parse_page(std::string_view bytes, std::uint32_t usable, bool first,
                                      tree_kind kind);

// SQLite's variable-length integer at the front of `bytes`, which is shortened by it. False: it does not end.
bool take_varint(std::string_view& bytes, std::uint64_t& number);

inline std::uint32_t big_endian_32(std::string_view bytes, std::size_t at) {
  const auto byte = [&](std::size_t i) {
    return static_cast<std::uint32_t>(static_cast<unsigned char>(bytes[i]));
  };
  return byte(at) << 24 | byte(at + 1) << 16 | byte(at + 2) << 8 | byte(at + 3);
}

}  // namespace understudy::rows
