#include "common/rows/decoder.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <map>

#include "common/rows/row_difference.hpp"
#include "common/rows/sql_tokens.hpp"
#include "common/status/status_macros.hpp"
#include "common/status/status_text.hpp"

namespace understudy::rows {
namespace {

class no_database final : public page_source {
 public:
  std::uint32_t page_size() const override { return 0; }
  std::uint32_t page_count() const override { return 0; }
  absl::Status read_page(std::uint32_t, std::span<std::byte>) override { return corrupt("there is no page"); }
};

// A table as both schemas have it; its place in the list is its owner's number.
struct table_pair {
  const stored_table* before = nullptr;
  const stored_table* after = nullptr;

  const std::string& name() const { return (after != nullptr ? after : before)->shape->name; }
  bool understood() const {
    return (before == nullptr || before->not_understood.empty()) &&
           (after == nullptr || after->not_understood.empty());
  }
  const std::string& reason() const {
    return after != nullptr && !after->not_understood.empty() ? after->not_understood
                                                              : before->not_understood;
  }
};

tree tree_of(std::size_t owner, const table& shape) {
  return {.owner = owner, .kind = shape.without_rowid ? tree_kind::index : tree_kind::table};
}

tree_roots roots_of(const schema& of) {
  tree_roots roots;
  for (std::size_t i = 0; i < of.tables.size(); ++i) {
    const stored_table& t = of.tables[i];
    if (t.not_understood.empty()) roots.emplace(t.root, tree_of(i, *t.shape));
  }
  return roots;
}

// By name; what remains is a rename where the tree and its shape stayed.
std::vector<table_pair> pair_tables(const schema& before, const schema& after) {
  std::vector<table_pair> pairs;
  absl::flat_hash_map<std::string, std::size_t> by_name;
  absl::flat_hash_map<std::uint32_t, std::size_t> by_root;
  for (const stored_table& t : before.tables) {
    by_name.emplace(lower_case(t.shape->name), pairs.size());
    by_root.emplace(t.root, pairs.size());
    pairs.push_back({.before = &t});
  }
  std::vector<const stored_table*> rest;
  for (const stored_table& t : after.tables) {
    const auto found = by_name.find(lower_case(t.shape->name));
    if (found != by_name.end()) {
      pairs[found->second].after = &t;
    } else {
      rest.push_back(&t);
    }
  }
  for (const stored_table* t : rest) {
    const auto found = by_root.find(t->root);
    table_pair* old = found != by_root.end() ? &pairs[found->second] : nullptr;
    if (old != nullptr && old->after == nullptr &&
        old->before->shape->without_rowid == t->shape->without_rowid &&
        old->before->shape->stored.size() == t->shape->stored.size()) {
      old->after = t;
    } else {
      pairs.push_back({.after = t});
    }
  }
  return pairs;
}

// The changes of one transaction, in order, to the sink.
class report {
 public:
  report(image& before, image& after, affected_pages affected, const decoder_options& options,
         const change_sink& sink, const table_filter& wanted)
      : before_(before),
        after_(after),
        affected_(std::move(affected)),
        options_(options),
        sink_(sink),
        wanted_(wanted) {}

  absl::Status table(std::size_t owner, const table_pair& p) {
    if (p.name() == "sqlite_schema" || !wants(p)) return absl::OkStatus();
    if (p.before == nullptr) {
      UNDERSTUDY_RETURN_IF_ERROR(object(change_kind::create, p));
    } else if (p.after != nullptr && p.before != p.after &&
               (p.before->shape->sql != p.after->shape->sql ||
                p.before->shape->name != p.after->shape->name)) {
      UNDERSTUDY_RETURN_IF_ERROR(object(change_kind::alter, p));
    }
    UNDERSTUDY_RETURN_IF_ERROR(rows(owner, p));
    return p.after == nullptr ? object(change_kind::drop, p) : absl::OkStatus();
  }

  // Everything of the schema that has no rows of its own.
  absl::Status others(const schema& before, const schema& after) {
    std::map<std::pair<std::string, std::string>, std::pair<const schema_object*, const schema_object*>>
        objects;
    const auto add = [&](const schema& of, auto member) {
      for (const schema_object& o : of.objects) {
        const bool has_rows = o.type == "table" && o.root != 0;
        if (has_rows || o.sql.empty() || (wanted_ && !wanted_(o.table_name))) continue;
        objects[{o.type, o.name}].*member = &o;
      }
    };
    using pair = std::pair<const schema_object*, const schema_object*>;
    add(before, &pair::first);
    add(after, &pair::second);
    for (const auto& [key, sides] : objects) {
      const auto& [old_object, new_object] = sides;
      if (old_object != nullptr && new_object != nullptr && old_object->sql == new_object->sql) continue;
      change c{.kind = old_object == nullptr   ? change_kind::create
                       : new_object == nullptr ? change_kind::drop
                                               : change_kind::alter,
               .table = key.second};
      c.object = key.first;
      if (old_object != nullptr) c.sql_before = old_object->sql;
      if (new_object != nullptr) c.sql_after = new_object->sql;
      UNDERSTUDY_RETURN_IF_ERROR(sink_(std::move(c)));
    }
    return absl::OkStatus();
  }

 private:
  bool wants(const table_pair& p) const {
    return !wanted_ || wanted_(p.name()) || (p.before != nullptr && wanted_(p.before->shape->name));
  }

  absl::Status object(change_kind kind, const table_pair& p) {
    change c{.kind = kind, .table = p.name()};
    c.object = "table";
    if (p.before != nullptr) c.sql_before = p.before->shape->sql;
    if (p.after != nullptr) c.sql_after = p.after->shape->sql;
    if (p.before != nullptr && p.before->shape->name != p.name()) c.old_name = p.before->shape->name;
    return sink_(std::move(c));
  }

  absl::Status unclear(const table_pair& p, std::string reason) {
    change c{.kind = change_kind::unclear, .table = p.name()};
    c.reason = std::move(reason);
    return sink_(std::move(c));
  }

  absl::Status rows(std::size_t owner, const table_pair& p) {
    if (!p.understood()) {
      // Which pages are its own is not known; that it changed at all is known when its definition did.
      return p.before != p.after ? unclear(p, p.reason()) : absl::OkStatus();
    }
    const auto found = affected_.tables.find(owner);
    if (found == affected_.tables.end()) return absl::OkStatus();
    absl::Status refused;
    const auto shape = [](const stored_table* t) { return t != nullptr ? t->shape : nullptr; };
    const absl::Status compared =
        compare_rows({before_, shape(p.before), std::move(found->second.before)},
                     {after_, shape(p.after), std::move(found->second.after)}, affected_.changed_overflow,
                     options_, [&](change c) { return refused = sink_(std::move(c)); });
    if (!compared.ok() && refused.ok() && compared.code() == absl::StatusCode::kUnimplemented) {
      return unclear(p, std::string(message_of(compared)));
    }
    return compared;
  }

  image& before_;
  image& after_;
  affected_pages affected_;
  const decoder_options& options_;
  const change_sink& sink_;
  const table_filter& wanted_;
};

}  // namespace

absl::StatusOr<decoder> decoder::open(page_source& at, decoder_options options) {
  decoder opened(options);
  no_database nothing;
  UNDERSTUDY_ASSIGN_OR_RETURN(image before, image::open(nothing));
  UNDERSTUDY_ASSIGN_OR_RETURN(image now, image::open(at));
  UNDERSTUDY_ASSIGN_OR_RETURN(schema read, read_schema(now, {}));
  opened.roots_ = std::make_shared<const tree_roots>(roots_of(read));
  opened.schema_ = std::make_shared<const schema>(std::move(read));
  const auto scanned = opened.owners_.advance(before, {}, now, *opened.roots_, {});
  UNDERSTUDY_RETURN_IF_ERROR(scanned.status());
  return opened;
}

absl::Status decoder::decode(page_source& before_source, page_source& after_source,
                             std::span<const std::uint32_t> changed, const change_sink& sink,
                             const table_filter& wanted) {
  UNDERSTUDY_ASSIGN_OR_RETURN(image before, image::open(before_source));
  UNDERSTUDY_ASSIGN_OR_RETURN(image after, image::open(after_source));
  const auto old_schema = schema_;
  const bool schema_may_differ = before.pages() == 0 || after.pages() == 0 || owners_.any_below(1, changed);
  if (schema_may_differ) {
    UNDERSTUDY_ASSIGN_OR_RETURN(schema read, read_schema(after, *old_schema));
    const bool differs =
        read.objects != old_schema->objects || read.tables.size() != old_schema->tables.size();
    if (differs) schema_ = std::make_shared<const schema>(std::move(read));
  }
  const bool same_schema = schema_ == old_schema;

  std::vector<table_pair> pairs;
  const auto old_roots = roots_;
  std::shared_ptr<const tree_roots> new_roots = roots_;
  if (!same_schema) {
    pairs = pair_tables(*old_schema, *schema_);
    auto roots = std::make_shared<tree_roots>();
    for (std::size_t owner = 0; owner < pairs.size(); ++owner) {
      const stored_table* t = pairs[owner].after;
      if (t != nullptr && t->not_understood.empty()) roots->emplace(t->root, tree_of(owner, *t->shape));
    }
    new_roots = std::move(roots);
    roots_ = std::make_shared<const tree_roots>(roots_of(*schema_));
  }
  UNDERSTUDY_ASSIGN_OR_RETURN(affected_pages affected,
                              owners_.advance(before, *old_roots, after, *new_roots, changed));

  // By name; of an unchanged schema only the tables that are affected.
  std::vector<std::size_t> order;
  if (same_schema) {
    for (const auto& [owner, pages] : affected.tables) order.push_back(owner);
  } else {
    for (std::size_t owner = 0; owner < pairs.size(); ++owner) order.push_back(owner);
  }
  const auto pair_at = [&](std::size_t owner) {
    return same_schema ? table_pair{&schema_->tables[owner], &schema_->tables[owner]} : pairs[owner];
  };
  std::sort(order.begin(), order.end(),
            [&](std::size_t a, std::size_t b) { return pair_at(a).name() < pair_at(b).name(); });
  report out(before, after, std::move(affected), options_, sink, wanted);
  for (const std::size_t owner : order) UNDERSTUDY_RETURN_IF_ERROR(out.table(owner, pair_at(owner)));
  return same_schema ? absl::OkStatus() : out.others(*old_schema, *schema_);
}

}  // namespace understudy::rows
