#pragma once

// Which pages of a database the named tables need: those that hold their rows (overflow pages included),
// those of the schema, and of WITHOUT ROWID tables those of their indexes, for SQLite reads such a table
// through any of them. Pure; kept from one transaction to the next by the pages that it wrote.
//
// A page becomes one of theirs when a page of theirs points to it, and a b-tree page is initialised when it
// is taken from the freelist, so it is in the same transaction; what is not (a table that got another's name)
// is a doubt, and a doubt is a new search.

#include <cstdint>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/channel/database_source.hpp"
#include "common/rows/btree_page.hpp"
#include "common/rows/schema.hpp"
#include "common/sqlite/page_hash.hpp"

namespace understudy::tables {

// The hash of a page of the image: zero for one that is all zeros, whether it is theirs or not.
sqlite::page_hash image_hash(std::uint32_t number, std::string_view bytes);

// Page 1 without what changes with pages of other tables, and as a file that has no log: see tables.proto.
std::string image_of_first_page(std::string bytes);

// As much as a failover host keeps; more is not worth a search either.
constexpr std::uint64_t most_image_bytes = 256 << 20;

class table_pages {
 public:
  table_pages(std::vector<std::string> tables, std::uint32_t page_size,
              std::uint64_t most_bytes = most_image_bytes);

  // --- The search: find() says which pages it needs next, learn() gives them. Complete when find() needs
  // none; the pages given must then be of one image. Pages that are written meanwhile: note_written().
  // kDataLoss: the pages do not fit together (yet); kResourceExhausted: there are too many.
  absl::StatusOr<std::vector<std::uint32_t>> find(std::uint32_t database_pages);
  void learn(std::uint32_t page, std::string_view bytes);
  void note_written(std::uint32_t page, std::string_view bytes);

  // --- From one transaction to the next, after a complete search.
  // The pages of the image that changed, those that are no longer theirs as zeros; none: the transaction does
  // not concern them. kDataLoss: a doubt, these records are of no use any more; kResourceExhausted likewise.
  absl::StatusOr<std::vector<channel::page_image>> follow(std::span<const channel::page_image> written,
                                                          std::uint32_t database_pages);

  bool has(std::uint32_t page) const { return nodes_.contains(page); }
  // The image: its size in pages, the hash of a page (zero for a page of others), and of all.
  std::uint32_t pages() const { return nodes_.empty() ? 0 : nodes_.rbegin()->first; }
  sqlite::page_hash hash_of(std::uint32_t page) const;
  sqlite::page_hash combined(std::uint32_t first, std::uint64_t count) const;
  const sqlite::page_hash& combined() const { return combined_; }
  std::uint32_t page_size() const { return page_size_; }

 private:
  enum class role : std::uint8_t { schema, schema_overflow, table, index, overflow };
  struct node {
    role how = role::table;
    bool understood = false;
    std::vector<std::uint32_t> children;  // 0 is none
    sqlite::page_hash hash;
    std::string bytes;  // of the schema's pages
  };
  using written_pages = absl::flat_hash_map<std::uint32_t, std::string_view>;
  class schema_image;

  node read(std::uint32_t page, role how, std::string_view bytes) const;
  void set(std::uint32_t page, node what);
  // Walks what is reached from the roots; what is not known goes to `asked_`, what is not reached to `left`.
  absl::Status walk(std::uint32_t database_pages, const written_pages& written,
                    std::vector<std::uint32_t>& left);
  absl::Status walk_from(std::uint32_t root, role how, std::uint32_t database_pages,
                         const written_pages& written, absl::flat_hash_map<std::uint32_t, bool>& seen);
  absl::Status read_schema(std::uint32_t database_pages);

  const std::vector<std::string> tables_;  // in lower case
  const std::uint32_t page_size_;
  const std::uint64_t most_pages_;
  std::uint32_t usable_ = 0;
  std::map<std::uint32_t, node> nodes_;
  sqlite::page_hash combined_;
  bool schema_changed_ = true;
  std::vector<std::pair<std::uint32_t, role>> roots_;  // of the tables
  absl::flat_hash_map<std::uint32_t, role> asked_;
};

}  // namespace understudy::tables
