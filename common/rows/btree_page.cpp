#include "common/rows/btree_page.hpp"

#include <fmt/core.h>

#include "common/rows/image.hpp"

namespace understudy::rows {
namespace {

constexpr unsigned index_interior = 0x02, table_interior = 0x05, index_leaf = 0x0a, table_leaf = 0x0d;
constexpr std::uint64_t largest_payload = 0x7fffffff;  // SQLite's own limit on a row
constexpr std::size_t file_header_bytes = 100;

// How much of a payload lies in the cell: https://sqlite.org/fileformat2.html#cell_payload_overflow_pages
std::uint32_t local_size_of(std::uint64_t payload, std::uint32_t usable, tree_kind kind) {
  const std::uint64_t most = kind == tree_kind::table ? usable - 35 : (usable - 12) * 64 / 255 - 23;
  if (payload <= most) return static_cast<std::uint32_t>(payload);
  const std::uint64_t least = (usable - 12) * 32 / 255 - 23;
  const std::uint64_t fitting = least + (payload - least) % (usable - 4);
  return static_cast<std::uint32_t>(fitting <= most ? fitting : least);
}

}  // namespace

bool take_varint(std::string_view& bytes, std::uint64_t& number) {
  number = 0;
  for (std::size_t i = 0; i < bytes.size() && i < 9; ++i) {
    const auto byte = static_cast<unsigned char>(bytes[i]);
    if (i == 8) {
      number = number << 8 | byte;
    } else {
      number = number << 7 | (byte & 0x7F);
    }
    if (i == 8 || byte < 0x80) {
      bytes.remove_prefix(i + 1);
      return true;
    }
  }
  return false;
}

absl::StatusOr<btree_page> parse_page(std::string_view bytes, std::uint32_t usable, bool first,
                                      tree_kind kind) {
  const std::string_view page = bytes.substr(0, usable);
  const std::size_t header = first ? file_header_bytes : 0;
  const auto half = [&](std::size_t at) {
    return static_cast<std::uint32_t>(static_cast<unsigned char>(page[at]) << 8 |
                                      static_cast<unsigned char>(page[at + 1]));
  };
  const auto flags = static_cast<unsigned char>(page[header]);
  btree_page parsed;
  parsed.leaf = flags == index_leaf || flags == table_leaf;
  if (kind == tree_kind::table ? flags != table_leaf && flags != table_interior
                               : flags != index_leaf && flags != index_interior) {
    return corrupt(
        fmt::format("a page of kind {} in a tree of {}", flags, kind == tree_kind::table ? "rows" : "keys"));
  }
  const std::uint32_t count = half(header + 3);
  const std::size_t pointers = header + (parsed.leaf ? 8 : 12);
  const std::size_t content = pointers + 2 * std::size_t{count};
  if (content > page.size()) return corrupt(fmt::format("a page with {} cells", count));
  if (!parsed.leaf) parsed.right_child = big_endian_32(page, header + 8);
  parsed.cells.reserve(count);
  for (std::uint32_t i = 0; i < count; ++i) {
    const std::uint32_t at = half(pointers + 2 * i);
    if (at < content || at + 4 > page.size()) return corrupt(fmt::format("a cell at {}", at));
    std::string_view rest = page.substr(at);
    cell c;
    if (!parsed.leaf) {
      c.child = big_endian_32(rest, 0);
      rest.remove_prefix(4);
    }
    std::uint64_t number = 0;
    const bool has_payload = parsed.leaf || kind == tree_kind::index;
    if (has_payload) {
      if (!take_varint(rest, number) || number > largest_payload) return corrupt("the size of a row");
      c.payload_size = number;
    }
    if (kind == tree_kind::table) {
      if (!take_varint(rest, number)) return corrupt("a rowid");
      c.rowid = static_cast<std::int64_t>(number);
    }
    if (has_payload) {
      c.local_size = local_size_of(c.payload_size, usable, kind);
      c.local_begin = static_cast<std::uint32_t>(page.size() - rest.size());
      const bool spills = c.local_size < c.payload_size;
      if (rest.size() < std::size_t{c.local_size} + (spills ? 4 : 0))
        return corrupt("a row past its page's end");
      if (spills) c.overflow = big_endian_32(rest, c.local_size);
    }
    parsed.cells.push_back(c);
  }
  return parsed;
}

}  // namespace understudy::rows
