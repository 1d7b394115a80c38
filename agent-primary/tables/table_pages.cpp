#include "agent-primary/tables/table_pages.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <utility>

#include "common/rows/image.hpp"
#include "common/rows/page_source.hpp"
#include "common/rows/sql_tokens.hpp"
#include "common/sqlite/wal_format.hpp"
#include "common/status/status_macros.hpp"

namespace understudy::tables {
namespace {

using rows::big_endian_32;
using rows::corrupt;
using rows::tree_kind;

constexpr std::size_t reserved_at = 20;  // in the file header: unused bytes at each page's end

bool all_zeros(std::string_view bytes) {
  return bytes.find_first_not_of('\0') == std::string_view::npos;
}

}  // namespace

sqlite::page_hash image_hash(std::uint32_t number, std::string_view bytes) {
  return all_zeros(bytes) ? sqlite::page_hash{} : sqlite::hash_page(number, std::as_bytes(std::span(bytes)));
}

std::string image_of_first_page(std::string bytes) {
  // https://sqlite.org/fileformat2.html#the_database_header
  const auto clear = [&](std::size_t at, std::size_t count) { bytes.replace(at, count, count, '\0'); };
  bytes[18] = bytes[19] = 1;
  clear(24, 4);  // change counter
  clear(28, 4);  // pages
  clear(32, 8);  // freelist
  clear(52, 4);  // vacuums by itself, which it cannot without the pages that point back
  clear(64, 4);
  clear(92, 8);  // counter for which the size is valid, version of the library
  return bytes;
}

// The schema's pages as an image, for the reader of schemas; it has no other page.
class table_pages::schema_image final : public rows::page_source {
 public:
  schema_image(const table_pages& of, std::uint32_t pages) : of_(of), pages_(pages) {}
  std::uint32_t page_size() const override { return of_.page_size_; }
  std::uint32_t page_count() const override { return pages_; }
  absl::Status read_page(std::uint32_t number, std::span<std::byte> page) override {
    const auto found = of_.nodes_.find(number);
    if (found == of_.nodes_.end() || found->second.bytes.size() != page.size())
      return corrupt(fmt::format("page {} is not of the schema", number));
    std::copy_n(reinterpret_cast<const std::byte*>(found->second.bytes.data()), page.size(), page.begin());
    return absl::OkStatus();
  }

 private:
  const table_pages& of_;
  const std::uint32_t pages_;
};

table_pages::table_pages(std::vector<std::string> tables, std::uint32_t page_size, std::uint64_t most_bytes)
    : tables_([&] {
        for (std::string& name : tables) name = rows::lower_case(name);
        return std::move(tables);
      }()),
      page_size_(page_size),
      most_pages_(most_bytes / std::max(page_size, 1u)) {}

sqlite::page_hash table_pages::hash_of(std::uint32_t page) const {
  const auto found = nodes_.find(page);
  return found == nodes_.end() ? sqlite::page_hash{} : found->second.hash;
}

sqlite::page_hash table_pages::combined(std::uint32_t first, std::uint64_t count) const {
  sqlite::page_hash all;
  for (auto at = nodes_.lower_bound(first); at != nodes_.end() && at->first - first < count; ++at)
    all ^= at->second.hash;
  return all;
}

table_pages::node table_pages::read(std::uint32_t page, role how, std::string_view bytes) const {
  node made{.how = how, .understood = false, .children = {}, .hash = {}, .bytes = {}};
  if (bytes.size() != page_size_) return made;
  made.hash = page == 1 ? image_hash(1, image_of_first_page(std::string(bytes))) : image_hash(page, bytes);
  if (how == role::schema || how == role::schema_overflow) made.bytes = bytes;
  if (how == role::overflow || how == role::schema_overflow) {
    made.children.push_back(big_endian_32(bytes, 0));
    made.understood = true;
    return made;
  }
  const std::uint32_t usable =
      page == 1 ? page_size_ - static_cast<unsigned char>(bytes[reserved_at]) : usable_;
  const auto parsed =
      rows::parse_page(bytes, usable, page == 1, how == role::index ? tree_kind::index : tree_kind::table);
  if (!parsed.ok()) return made;
  for (const rows::cell& c : parsed->cells) {
    // An interior page's children first: walk_from() knows them by their place.
    if (!parsed->leaf) made.children.push_back(c.child);
  }
  if (!parsed->leaf) made.children.push_back(parsed->right_child);
  made.children.push_back(0);
  for (const rows::cell& c : parsed->cells) {
    if (c.overflow != 0) made.children.push_back(c.overflow);
  }
  made.understood = true;
  return made;
}

void table_pages::set(std::uint32_t page, node what) {
  node& present = nodes_[page];
  combined_ ^= present.hash;
  combined_ ^= what.hash;
  present = std::move(what);
}

absl::Status table_pages::walk_from(std::uint32_t root, role how, std::uint32_t database_pages,
                                    const written_pages& written,
                                    absl::flat_hash_map<std::uint32_t, bool>& seen) {
  const bool schema = how == role::schema;
  std::vector<std::pair<std::uint32_t, role>> waiting{{root, how}};
  while (!waiting.empty()) {
    const auto [page, as] = waiting.back();
    waiting.pop_back();
    if (page == 0) continue;
    if (page > database_pages) return corrupt(fmt::format("page {} of {}", page, database_pages));
    if (!seen.emplace(page, true).second) return corrupt(fmt::format("page {} is used twice", page));
    if (seen.size() > most_pages_) {
      return absl::ResourceExhaustedError(fmt::format(
          "they have more than {} MiB, too much for mode configuration: name fewer tables, or use "
          "mode all",
          (most_pages_ * page_size_) >> 20));
    }
    auto found = nodes_.find(page);
    if (found == nodes_.end() || found->second.how != as) {
      const auto bytes = written.find(page);
      if (bytes == written.end()) {
        asked_[page] = as;
        continue;
      }
      set(page, read(page, as, bytes->second));
      found = nodes_.find(page);
    }
    if (!found->second.understood) return corrupt(fmt::format("page {} is not what points to it says", page));
    const bool chain = as == role::overflow || as == role::schema_overflow;
    bool below = !chain;  // children up to the mark are of the tree, the rest overflow pages
    for (const std::uint32_t child : found->second.children) {
      if (child == 0) {
        below = false;
        continue;
      }
      waiting.emplace_back(child, below ? as : schema ? role::schema_overflow : role::overflow);
    }
  }
  return absl::OkStatus();
}

absl::Status table_pages::read_schema(std::uint32_t database_pages) {
  schema_image source(*this, database_pages);
  UNDERSTUDY_ASSIGN_OR_RETURN(rows::image image, rows::image::open(source));
  UNDERSTUDY_ASSIGN_OR_RETURN(const rows::schema schema, rows::read_schema(image, {}));
  roots_.clear();
  std::vector<std::string> whole;  // tables without rowid
  const auto named = [](const std::vector<std::string>& names, const std::string& name) {
    return std::find(names.begin(), names.end(), rows::lower_case(name)) != names.end();
  };
  for (const rows::stored_table& table : schema.tables) {
    if (table.root <= 1 || !named(tables_, table.shape->name)) continue;
    if (!table.not_understood.empty()) {
      return absl::UnimplementedError(fmt::format("the definition of table {} is not understood: {}",
                                                  table.shape->name, table.not_understood));
    }
    roots_.emplace_back(table.root, table.shape->without_rowid ? role::index : role::table);
    if (table.shape->without_rowid) whole.push_back(rows::lower_case(table.shape->name));
  }
  for (const rows::schema_object& object : schema.objects) {
    if (object.type == "index" && object.root > 1 && named(whole, object.table_name))
      roots_.emplace_back(object.root, role::index);
  }
  schema_changed_ = false;
  return absl::OkStatus();
}

absl::Status table_pages::walk(std::uint32_t database_pages, const written_pages& written,
                               std::vector<std::uint32_t>& left) {
  absl::flat_hash_map<std::uint32_t, bool> seen;
  seen.reserve(nodes_.size());
  asked_.clear();
  UNDERSTUDY_RETURN_IF_ERROR(walk_from(1, role::schema, database_pages, written, seen));
  if (!asked_.empty()) return absl::OkStatus();
  if (schema_changed_) UNDERSTUDY_RETURN_IF_ERROR(read_schema(database_pages));
  for (const auto& [root, how] : roots_)
    UNDERSTUDY_RETURN_IF_ERROR(walk_from(root, how, database_pages, written, seen));
  if (!asked_.empty()) return absl::OkStatus();
  for (const auto& [page, what] : nodes_) {
    if (!seen.contains(page)) left.push_back(page);
  }
  for (const std::uint32_t page : left) {
    combined_ ^= nodes_[page].hash;
    nodes_.erase(page);
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<std::uint32_t>> table_pages::find(std::uint32_t database_pages) {
  schema_changed_ = true;
  std::vector<std::uint32_t> left;
  UNDERSTUDY_RETURN_IF_ERROR(walk(database_pages, {}, left));
  std::vector<std::uint32_t> pages;
  for (const auto& [page, how] : asked_) pages.push_back(page);
  return pages;
}

void table_pages::learn(std::uint32_t page, std::string_view bytes) {
  const auto asked = asked_.find(page);
  if (asked == asked_.end()) return;
  if (page == 1 && bytes.size() == page_size_)
    usable_ = page_size_ - static_cast<unsigned char>(bytes[reserved_at]);
  set(page, read(page, asked->second, bytes));
}

void table_pages::note_written(std::uint32_t page, std::string_view bytes) {
  const auto found = nodes_.find(page);
  if (found == nodes_.end()) return;
  if (page == 1 && bytes.size() == page_size_)
    usable_ = page_size_ - static_cast<unsigned char>(bytes[reserved_at]);
  node fresh = read(page, found->second.how, bytes);
  if (fresh.understood) {
    set(page, std::move(fresh));
    return;
  }
  // Another kind of page by now: asked for again if it is still reached.
  combined_ ^= found->second.hash;
  nodes_.erase(found);
}

absl::StatusOr<std::vector<channel::page_image>> table_pages::follow(
    std::span<const channel::page_image> written, std::uint32_t database_pages) {
  std::vector<channel::page_image> changed;
  written_pages fresh;  // of a page that comes more than once the last counts
  bool theirs = false;
  for (const channel::page_image& page : written) {
    if (page.bytes.size() != page_size_) return corrupt(fmt::format("page {} of another size", page.number));
    fresh[page.number] = page.bytes;
    theirs = theirs || has(page.number);
  }
  if (!theirs) return changed;

  std::map<std::uint32_t, sqlite::page_hash> before;  // of pages written: absent, or theirs
  bool structure = false;
  for (const auto& [number, bytes] : fresh) {
    before[number] = hash_of(number);
    const auto found = nodes_.find(number);
    if (found == nodes_.end()) continue;
    node now = read(number, found->second.how, bytes);
    if (number == 1 && static_cast<unsigned char>(bytes[reserved_at]) != page_size_ - usable_)
      return corrupt("the reserved bytes of a page changed");
    const role how = found->second.how;
    if ((how == role::schema || how == role::schema_overflow) && now.hash != found->second.hash)
      schema_changed_ = structure = true;
    structure = structure || !now.understood || now.children != found->second.children;
    if (now.understood) {
      set(number, std::move(now));
    } else {  // of another kind now, or theirs no more
      combined_ ^= found->second.hash;
      nodes_.erase(found);
    }
  }
  std::vector<std::uint32_t> left;
  if (structure) {
    UNDERSTUDY_RETURN_IF_ERROR(walk(database_pages, fresh, left));
    if (!asked_.empty()) {
      return absl::DataLossError(fmt::format("page {} became one of the named tables' without being written",
                                             asked_.begin()->first));
    }
  }
  for (const auto& [number, hash] : before) {
    if (hash_of(number) == hash) continue;
    std::string bytes = has(number) ? std::string(fresh[number]) : std::string(page_size_, '\0');
    if (number == 1) bytes = image_of_first_page(std::move(bytes));
    changed.push_back({.number = number, .bytes = std::move(bytes)});
  }
  for (const std::uint32_t number : left) {
    if (!before.contains(number))
      changed.push_back({.number = number, .bytes = std::string(page_size_, '\0')});
  }
  return changed;
}

}  // namespace understudy::tables
