#include "common/rows/row_difference.hpp"

#include <absl/container/flat_hash_map.h>
#include <fmt/core.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <algorithm>

#include "common/rows/record.hpp"
#include "common/rows/sql_tokens.hpp"
#include "common/status/status_macros.hpp"

namespace understudy::rows {
namespace {

// A row where it lies.
struct stored_row {
  image::page page;
  cell where;
};

std::string_view local_bytes(const stored_row& r) {
  // With the number of the first overflow page, if there is one.
  return std::string_view(*r.page).substr(r.where.local_begin,
                                          r.where.local_size + (r.where.overflow != 0 ? 4 : 0));
}

bool visible(const column& c) {
  return !c.computed;
}

// A column as both tables have it.
struct column_pair {
  std::size_t before = 0;
  std::size_t after = 0;
};

class comparison {
 public:
  comparison(table_side before, table_side after, const absl::flat_hash_set<std::uint32_t>& changed_overflow,
             const decoder_options& options, const change_sink& sink)
      : before_(std::move(before)),
        after_(std::move(after)),
        changed_overflow_(changed_overflow),
        options_(options),
        sink_(sink) {
    if (before_.shape && after_.shape) pair_columns();
  }

  absl::Status by_rowid();
  absl::Status by_key();

 private:
  class rowid_stream;
  struct keyed_row {
    std::vector<value> key;
    std::uint32_t page = 0;
    cell where;
  };

  // Columns that both have: those of the same name, and renamed ones, which are known by being the next
  // without a partner between the same neighbours.
  void pair_columns() {
    std::vector<const column*> old_columns, new_columns;
    for (const column& c : before_.shape->columns) {
      if (visible(c)) old_columns.push_back(&c);
    }
    for (const column& c : after_.shape->columns) {
      if (visible(c)) new_columns.push_back(&c);
    }
    absl::flat_hash_map<std::string, std::size_t> by_name;
    for (std::size_t i = 0; i < old_columns.size(); ++i) by_name.emplace(lower_case(old_columns[i]->name), i);
    std::vector<bool> kept(old_columns.size());
    std::vector<std::optional<std::size_t>> partners(new_columns.size());
    for (std::size_t j = 0; j < new_columns.size(); ++j) {
      const auto same = by_name.find(lower_case(new_columns[j]->name));
      if (same == by_name.end()) continue;
      partners[j] = same->second;
      kept[same->second] = true;
    }
    std::size_t i = 0, kept_before = 0, old_kept_before = 0;
    for (std::size_t j = 0; j < new_columns.size(); ++j) {
      if (partners[j]) {
        ++kept_before;
      } else {
        for (; i < old_columns.size() && (kept[i] || old_kept_before < kept_before); ++i)
          old_kept_before += kept[i];
        if (i < old_columns.size() && old_kept_before == kept_before) partners[j] = i++;
      }
      if (partners[j]) {
        pairs_.push_back({*partners[j], j});
      } else {
        added_.emplace_back(j, new_columns[j]->when_absent);
      }
    }
  }

  absl::StatusOr<row> read(table_side& side, const stored_row& at) {
    const table& shape = *side.shape;
    UNDERSTUDY_ASSIGN_OR_RETURN(auto stored, read_record({side.from, at.page, at.where}, side.from.text(),
                                                         shape.stored.size(), options_.largest_value));
    std::vector<value> by_column(shape.columns.size());
    for (std::size_t i = 0; i < shape.stored.size(); ++i) {
      const column& c = shape.columns[shape.stored[i]];
      value& v = by_column[shape.stored[i]];
      if (i < stored.size()) {
        v = std::move(stored[i]);
        // Whole numbers of REAL columns are stored as integers, to save space.
        if (const auto* whole = std::get_if<std::int64_t>(&v); whole != nullptr && c.kind == affinity::real) {
          v = static_cast<double>(*whole);
        }
      } else if (c.when_absent) {
        v = *c.when_absent;
      } else {
        return absl::UnimplementedError(
            fmt::format("the default of column {} is not understood, and older rows have it", c.name));
      }
    }
    if (shape.rowid_alias) by_column[*shape.rowid_alias] = at.where.rowid;
    row read{.shape = side.shape, .values = {}};
    for (std::size_t i = 0; i < by_column.size(); ++i) {
      if (visible(shape.columns[i])) read.values.push_back(std::move(by_column[i]));
    }
    return read;
  }

  bool same_values(const row& old_row, const row& new_row) const {
    for (const column_pair& p : pairs_) {
      if (old_row.values[p.before] != new_row.values[p.after]) return false;
    }
    for (const auto& [at, absent] : added_) {
      if (!absent || new_row.values[at] != *absent) return false;
    }
    return true;
  }

  absl::Status removed(const stored_row& r, bool has_rowid) {
    UNDERSTUDY_ASSIGN_OR_RETURN(row old_row, read(before_, r));
    change c{.kind = change_kind::remove, .table = before_.shape->name};
    if (after_.shape) c.table = after_.shape->name;
    if (has_rowid) c.rowid = r.where.rowid;
    c.before = std::move(old_row);
    return sink_(std::move(c));
  }

  absl::Status inserted(const stored_row& r, bool has_rowid) {
    UNDERSTUDY_ASSIGN_OR_RETURN(row new_row, read(after_, r));
    change c{.kind = change_kind::insert, .table = after_.shape->name};
    if (has_rowid) c.rowid = r.where.rowid;
    c.after = std::move(new_row);
    return sink_(std::move(c));
  }

  absl::Status kept(const stored_row& old_at, const stored_row& new_at, bool has_rowid) {
    const bool same_text = before_.from.text() == after_.from.text();
    if (same_text && old_at.where.payload_size == new_at.where.payload_size &&
        local_bytes(old_at) == local_bytes(new_at) && !changed_overflow_.contains(old_at.where.overflow)) {
      return absl::OkStatus();
    }
    UNDERSTUDY_ASSIGN_OR_RETURN(const bool same, same_payload({before_.from, old_at.page, old_at.where},
                                                              {after_.from, new_at.page, new_at.where}));
    if (same && same_text) return absl::OkStatus();
    UNDERSTUDY_ASSIGN_OR_RETURN(row old_row, read(before_, old_at));
    UNDERSTUDY_ASSIGN_OR_RETURN(row new_row, read(after_, new_at));
    if (same_values(old_row, new_row)) return absl::OkStatus();
    change c{.kind = change_kind::update, .table = after_.shape->name};
    if (has_rowid) c.rowid = new_at.where.rowid;
    c.before = std::move(old_row);
    c.after = std::move(new_row);
    return sink_(std::move(c));
  }

  static absl::StatusOr<btree_page> parse(table_side& side, const image::page& page, std::uint32_t number) {
    return parse_page(*page, side.from.usable(), number == 1,
                      side.shape->without_rowid ? tree_kind::index : tree_kind::table);
  }

  absl::StatusOr<std::vector<keyed_row>> keys_of(table_side& side, std::uint64_t part, std::uint64_t parts);
  static absl::StatusOr<stored_row> fetch(table_side& side, const keyed_row& at);

  table_side before_;
  table_side after_;
  const absl::flat_hash_set<std::uint32_t>& changed_overflow_;
  const decoder_options& options_;
  const change_sink& sink_;
  std::vector<column_pair> pairs_;                                   // places among the visible columns
  std::vector<std::pair<std::size_t, std::optional<value>>> added_;  // columns that only the new table has
};

// The rows of the pages of one side, ascending.
class comparison::rowid_stream {
 public:
  explicit rowid_stream(table_side& side) : side_(side) {
    std::sort(side.pages.begin(), side.pages.end(),
              [](const row_page& a, const row_page& b) { return a.first_rowid < b.first_rowid; });
  }

  // False at the end.
  absl::StatusOr<bool> next() {
    while (next_cell_ == parsed_.cells.size()) {
      if (next_page_ == side_.pages.size()) return false;
      const std::uint32_t number = side_.pages[next_page_++].page;
      UNDERSTUDY_ASSIGN_OR_RETURN(row_.page, side_.from.read(number));
      UNDERSTUDY_ASSIGN_OR_RETURN(parsed_, parse(side_, row_.page, number));
      next_cell_ = 0;
    }
    const std::int64_t last = row_.where.rowid;
    row_.where = parsed_.cells[next_cell_++];
    if (begun_ && row_.where.rowid <= last) {
      return corrupt(fmt::format("rowid {} comes after rowid {}", row_.where.rowid, last));
    }
    begun_ = true;
    return true;
  }
  const stored_row& at() const { return row_; }

 private:
  table_side& side_;
  std::size_t next_page_ = 0;
  std::size_t next_cell_ = 0;
  btree_page parsed_;
  stored_row row_;
  bool begun_ = false;
};

absl::Status comparison::by_rowid() {
  rowid_stream old_rows(before_), new_rows(after_);
  UNDERSTUDY_ASSIGN_OR_RETURN(bool old_there, old_rows.next());
  UNDERSTUDY_ASSIGN_OR_RETURN(bool new_there, new_rows.next());
  while (old_there || new_there) {
    const bool old_first = old_there && (!new_there || old_rows.at().where.rowid < new_rows.at().where.rowid);
    const bool both = old_there && new_there && old_rows.at().where.rowid == new_rows.at().where.rowid;
    if (both) {
      UNDERSTUDY_RETURN_IF_ERROR(kept(old_rows.at(), new_rows.at(), true));
    } else if (old_first) {
      UNDERSTUDY_RETURN_IF_ERROR(removed(old_rows.at(), true));
    } else {
      UNDERSTUDY_RETURN_IF_ERROR(inserted(new_rows.at(), true));
    }
    if (both || old_first) {
      UNDERSTUDY_ASSIGN_OR_RETURN(old_there, old_rows.next());
    }
    if (both || !old_first) {
      UNDERSTUDY_ASSIGN_OR_RETURN(new_there, new_rows.next());
    }
  }
  return absl::OkStatus();
}

std::uint64_t hash_of(const std::vector<value>& key) {
  std::uint64_t hash = 0;
  for (const value& v : key) {
    // Numbers that are equal must come into the same part, whatever their class.
    if (const auto* integer = std::get_if<std::int64_t>(&v)) {
      const auto real = static_cast<double>(*integer);
      hash = XXH3_64bits_withSeed(&real, sizeof real, hash);
    } else if (const auto* real = std::get_if<double>(&v)) {
      const double plain = *real == 0 ? 0.0 : *real;
      hash = XXH3_64bits_withSeed(&plain, sizeof plain, hash);
    } else if (const auto* text = std::get_if<text_value>(&v)) {
      hash = XXH3_64bits_withSeed(text->bytes.data(), text->bytes.size(), hash + 1);
    } else if (const auto* blob = std::get_if<blob_value>(&v)) {
      hash = XXH3_64bits_withSeed(blob->bytes.data(), blob->bytes.size(), hash + 2);
    } else if (const auto* omitted = std::get_if<omitted_value>(&v)) {
      hash = XXH3_64bits_withSeed(&omitted->hash, sizeof omitted->hash, hash + 3);
    }
  }
  return hash;
}

std::weak_ordering order(const std::vector<value>& a, const std::vector<value>& b) {
  for (std::size_t i = 0; i < std::min(a.size(), b.size()); ++i) {
    if (const auto o = compare(a[i], b[i]); o != 0) return o;
  }
  return a.size() <=> b.size();
}

absl::StatusOr<std::vector<comparison::keyed_row>> comparison::keys_of(table_side& side, std::uint64_t part,
                                                                       std::uint64_t parts) {
  std::vector<keyed_row> keys;
  for (const row_page& listed : side.pages) {
    UNDERSTUDY_ASSIGN_OR_RETURN(const image::page page, side.from.read(listed.page));
    UNDERSTUDY_ASSIGN_OR_RETURN(const btree_page parsed, parse(side, page, listed.page));
    for (const cell& c : parsed.cells) {
      UNDERSTUDY_ASSIGN_OR_RETURN(auto key, read_record({side.from, page, c}, side.from.text(),
                                                        side.shape->key_columns, options_.largest_value));
      if (parts > 1 && hash_of(key) % parts != part) continue;
      keys.push_back({.key = std::move(key), .page = listed.page, .where = c});
    }
  }
  std::sort(keys.begin(), keys.end(),
            [](const keyed_row& a, const keyed_row& b) { return order(a.key, b.key) < 0; });
  const auto twice = std::adjacent_find(keys.begin(), keys.end(), [](const keyed_row& a, const keyed_row& b) {
    return order(a.key, b.key) == 0;
  });
  if (twice != keys.end()) return corrupt(fmt::format("a key of table {} is there twice", side.shape->name));
  return keys;
}

absl::StatusOr<stored_row> comparison::fetch(table_side& side, const keyed_row& at) {
  UNDERSTUDY_ASSIGN_OR_RETURN(image::page page, side.from.read(at.page));
  return stored_row{.page = std::move(page), .where = at.where};
}

absl::Status comparison::by_key() {
  std::uint64_t rows = 0;
  for (const row_page& p : before_.pages) rows += p.cells;
  for (const row_page& p : after_.pages) rows += p.cells;
  const std::uint64_t parts = rows / std::max<std::uint64_t>(1, options_.rows_at_once) + 1;
  for (std::uint64_t part = 0; part < parts; ++part) {
    UNDERSTUDY_ASSIGN_OR_RETURN(const auto old_keys, keys_of(before_, part, parts));
    UNDERSTUDY_ASSIGN_OR_RETURN(const auto new_keys, keys_of(after_, part, parts));
    auto old_key = old_keys.begin();
    auto new_key = new_keys.begin();
    while (old_key != old_keys.end() || new_key != new_keys.end()) {
      const auto o = old_key == old_keys.end()   ? std::weak_ordering::greater
                     : new_key == new_keys.end() ? std::weak_ordering::less
                                                 : order(old_key->key, new_key->key);
      stored_row old_at, new_at;
      if (o <= 0) {
        UNDERSTUDY_ASSIGN_OR_RETURN(old_at, fetch(before_, *old_key++));
      }
      if (o >= 0) {
        UNDERSTUDY_ASSIGN_OR_RETURN(new_at, fetch(after_, *new_key++));
      }
      UNDERSTUDY_RETURN_IF_ERROR(o < 0   ? removed(old_at, false)
                                 : o > 0 ? inserted(new_at, false)
                                         : kept(old_at, new_at, false));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status compare_rows(table_side before, table_side after,
                          const absl::flat_hash_set<std::uint32_t>& changed_overflow,
                          const decoder_options& options, const change_sink& sink) {
  const bool old_keyed = before.shape && before.shape->without_rowid;
  const bool new_keyed = after.shape && after.shape->without_rowid;
  if (before.shape && after.shape && old_keyed != new_keyed) {
    // Made anew in the other way: nothing can be told to be the same row.
    table_side no_after{after.from, nullptr, {}}, no_before{before.from, nullptr, {}};
    UNDERSTUDY_RETURN_IF_ERROR(
        compare_rows(std::move(before), std::move(no_after), changed_overflow, options, sink));
    return compare_rows(std::move(no_before), std::move(after), changed_overflow, options, sink);
  }
  comparison rows(std::move(before), std::move(after), changed_overflow, options, sink);
  return old_keyed || new_keyed ? rows.by_key() : rows.by_rowid();
}

}  // namespace understudy::rows
