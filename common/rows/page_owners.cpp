#include "common/rows/page_owners.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <optional>

#include "common/status/status_macros.hpp"

namespace understudy::rows {
namespace {

absl::Status below_itself(std::uint32_t page) {
  return corrupt(fmt::format("page {} is below itself", page));
}

absl::Status used_twice(std::uint32_t page) {
  return corrupt(fmt::format("page {} is used twice", page));
}

}  // namespace

// One call of page_owners::advance.
class advance_pass {
 public:
  using role = page_owners::role;

  advance_pass(page_owners& owners, image& before, const tree_roots& roots_before, image& after,
               const tree_roots& roots_after, std::span<const std::uint32_t> changed)
      : parent_(owners.parent_),
        role_(owners.role_),
        before_(before),
        after_(after),
        roots_before_(roots_before),
        roots_after_(roots_after) {
    for (const std::uint32_t page : changed) {
      if (page >= 1 && page <= std::max(before.pages(), after.pages())) list_.push_back(page);
    }
    for (std::uint32_t page = after.pages() + 1; page <= before.pages() && page != 0; ++page)
      list_.push_back(page);
    std::sort(list_.begin(), list_.end());
    list_.erase(std::unique(list_.begin(), list_.end()), list_.end());
    changed_.insert(list_.begin(), list_.end());
    const std::size_t size = std::size_t{std::max(before.pages(), after.pages())} + 1;
    parent_.resize(size, 0);
    role_.resize(size, role::none);
  }

  absl::StatusOr<affected_pages> run() {
    for (const std::uint32_t page : list_) UNDERSTUDY_RETURN_IF_ERROR(place_before(page));
    for (const std::uint32_t page : list_) UNDERSTUDY_RETURN_IF_ERROR(detach_children(page));
    detach_roots();
    UNDERSTUDY_RETURN_IF_ERROR(attach_roots());
    UNDERSTUDY_RETURN_IF_ERROR(attach_changed());
    for (const std::uint32_t page : list_) {
      // What it contains now is no business of ours, and may look like anything.
      if (!done_.contains(page)) role_[page] = role::none;
    }
    UNDERSTUDY_RETURN_IF_ERROR(collect_dropped());
    UNDERSTUDY_RETURN_IF_ERROR(collect_leaves_of_overflow());
    parent_.resize(std::size_t{after_.pages()} + 1);
    role_.resize(std::size_t{after_.pages()} + 1);
    return std::move(affected_);
  }

 private:
  // Where a page stood in the image before.
  struct place {
    std::optional<std::size_t> owner;
    std::uint32_t leaf = 0;   // of an overflow page: the b-tree page whose row it belongs to
    std::uint32_t first = 0;  // and the first page of its chain
  };
  struct dropped {
    std::size_t owner = 0;
    role kind = role::none;
  };
  struct work {
    std::uint32_t page = 0;
    std::size_t owner = 0;
    role kind = role::none;
  };

  std::uint32_t up(std::uint32_t page) const { return parent_[page] < parent_.size() ? parent_[page] : 0; }

  static role role_of(tree_kind kind) { return kind == tree_kind::table ? role::table : role::index; }
  static tree_kind kind_of(role r) { return r == role::table ? tree_kind::table : tree_kind::index; }

  // Climbs from a changed page to its root. What other changed pages on the way learn by it is kept, so that
  // a long chain of overflow pages is not climbed again and again.
  absl::Status place_before(std::uint32_t page) {
    std::vector<std::uint32_t> path;  // changed pages without a place, from below
    std::optional<std::size_t> owner;
    std::uint32_t at = page;
    for (std::size_t steps = 0;; ++steps) {
      if (steps > parent_.size()) return below_itself(page);
      if (const auto found = places_.find(at); found != places_.end()) {
        owner = found->second.owner;
        break;
      }
      if (changed_.contains(at)) path.push_back(at);
      if (up(at) == 0) {
        const auto root = roots_before_.find(at);
        if (root != roots_before_.end() && at <= before_.pages()) owner = root->second.owner;
        break;
      }
      at = up(at);
    }
    for (auto it = path.rbegin(); it != path.rend(); ++it) places_[*it] = place_below(*it, owner);
    return absl::OkStatus();
  }

  // The changed pages above it have their places already.
  place place_below(std::uint32_t page, std::optional<std::size_t> owner) {
    place p{.owner = owner, .leaf = 0, .first = 0};
    if (role_[page] != role::overflow) return p;
    for (std::uint32_t at = page; up(at) != 0; at = up(at)) {
      if (const auto known = at != page ? places_.find(at) : places_.end(); known != places_.end()) {
        p.leaf = known->second.leaf;
        p.first = known->second.first;
        break;
      }
      if (role_[up(at)] != role::overflow) {
        p.leaf = up(at);
        p.first = at;
        break;
      }
    }
    return p;
  }

  // Calls f(child, its role) for what the page points to.
  template <class F>
  absl::Status for_children(image& from, std::uint32_t page, role kind, const btree_page* parsed, F f) {
    if (kind == role::overflow) {
      UNDERSTUDY_ASSIGN_OR_RETURN(const image::page bytes, from.read(page));
      const std::uint32_t next = big_endian_32(*bytes, 0);
      return next != 0 ? f(next, role::overflow) : absl::OkStatus();
    }
    for (const cell& c : parsed->cells) {
      if (!parsed->leaf) UNDERSTUDY_RETURN_IF_ERROR(f(c.child, kind));
      if (c.overflow != 0) UNDERSTUDY_RETURN_IF_ERROR(f(c.overflow, role::overflow));
    }
    return parsed->leaf ? absl::OkStatus() : f(parsed->right_child, kind);
  }

  absl::StatusOr<btree_page> parse(image& from, std::uint32_t page, role kind) {
    if (kind == role::overflow) return btree_page{};
    UNDERSTUDY_ASSIGN_OR_RETURN(const image::page bytes, from.read(page));
    return parse_page(*bytes, from.usable(), page == 1, kind_of(kind));
  }

  static void note(std::vector<row_page>& pages, std::uint32_t page, const btree_page& parsed, role kind) {
    if (kind == role::overflow || parsed.cells.empty() || !parsed.has_rows(kind_of(kind))) return;
    pages.push_back({.page = page,
                     .cells = static_cast<std::uint32_t>(parsed.cells.size()),
                     .first_rowid = parsed.cells.front().rowid});
  }

  // The records of what a page pointed to before go.
  absl::Status detach_children(std::uint32_t page) {
    const role kind = page < role_.size() ? role_[page] : role::none;
    if (kind == role::none || page > before_.pages()) return absl::OkStatus();
    const auto found = places_.find(page);
    const auto owner = found != places_.end() ? found->second.owner : std::nullopt;
    UNDERSTUDY_ASSIGN_OR_RETURN(const btree_page parsed, parse(before_, page, kind));
    if (owner && found != places_.end()) {
      note(affected_.tables[*owner].before, page, parsed, kind);
      if (kind == role::overflow && found->second.leaf != 0) {
        affected_.changed_overflow.insert(found->second.first);
        leaves_of_overflow_.emplace(found->second.leaf, *owner);
      }
    }
    return for_children(before_, page, kind, &parsed, [&](std::uint32_t child, role child_kind) {
      if (child < parent_.size() && parent_[child] == page) {
        parent_[child] = 0;
        if (owner) dropped_[child] = {.owner = *owner, .kind = child_kind};
      }
      return absl::OkStatus();
    });
  }

  bool same_roots() const { return &roots_before_ == &roots_after_; }

  void detach_roots() {
    if (same_roots()) return;
    for (const auto& [page, below] : roots_before_) {
      const auto now = roots_after_.find(page);
      const bool same =
          now != roots_after_.end() && now->second.owner == below.owner && now->second.kind == below.kind;
      if (!same && page <= before_.pages())
        dropped_[page] = {.owner = below.owner, .kind = role_of(below.kind)};
    }
  }

  absl::Status attach_roots() {
    if (same_roots()) {
      for (const std::uint32_t page : list_) {
        const auto root = roots_after_.find(page);
        if (root == roots_after_.end()) continue;
        if (page > after_.pages()) return corrupt(fmt::format("a table at page {}", page));
        work_.push_back({.page = page, .owner = root->second.owner, .kind = role_of(root->second.kind)});
      }
      return absl::OkStatus();
    }
    for (const auto& [page, below] : roots_after_) {
      if (page == 0 || page > after_.pages()) return corrupt(fmt::format("a table at page {}", page));
      parent_[page] = 0;
      const auto was = roots_before_.find(page);
      const bool same =
          was != roots_before_.end() && was->second.owner == below.owner && was->second.kind == below.kind;
      if (!same || changed_.contains(page)) {
        work_.push_back({.page = page, .owner = below.owner, .kind = role_of(below.kind)});
      }
    }
    return absl::OkStatus();
  }

  absl::Status attach_changed() {
    // A changed page below unchanged ones is where it was if their top still is.
    for (const std::uint32_t page : list_) {
      if (page > after_.pages() || roots_after_.contains(page) || parent_[page] == 0) continue;
      std::uint32_t top = page;
      for (std::size_t steps = 0; up(top) != 0; ++steps) {
        if (steps > parent_.size()) return below_itself(page);
        top = up(top);
      }
      const auto root = roots_after_.find(top);
      if (root != roots_after_.end() && !dropped_.contains(top)) {
        work_.push_back({.page = page, .owner = root->second.owner, .kind = role_[page]});
      } else {
        waiting_[top].push_back(page);
      }
    }
    while (!work_.empty()) {
      const work next = work_.back();
      work_.pop_back();
      UNDERSTUDY_RETURN_IF_ERROR(attach_children(next));
    }
    return absl::OkStatus();
  }

  absl::Status attach_children(const work& w) {
    if (!done_.insert(w.page).second) return used_twice(w.page);
    role& kind = role_[w.page];
    if (kind != w.kind && kind != role::none && !changed_.contains(w.page)) {
      UNDERSTUDY_ASSIGN_OR_RETURN(const btree_page old, parse(before_, w.page, kind));
      UNDERSTUDY_RETURN_IF_ERROR(for_children(before_, w.page, kind, &old, [&](std::uint32_t child, role) {
        if (child < parent_.size() && parent_[child] == w.page) parent_[child] = 0;
        return absl::OkStatus();
      }));
    }
    kind = w.kind;
    UNDERSTUDY_ASSIGN_OR_RETURN(const btree_page parsed, parse(after_, w.page, w.kind));
    note(affected_.tables[w.owner].after, w.page, parsed, w.kind);
    return for_children(after_, w.page, w.kind, &parsed,
                        [&](std::uint32_t child, role child_kind) { return attach(child, child_kind, w); });
  }

  absl::Status attach(std::uint32_t child, role child_kind, const work& to) {
    if (child < 2 || child > after_.pages())
      return corrupt(fmt::format("page {} points to page {}", to.page, child));
    if (roots_after_.contains(child)) return used_twice(child);
    const auto was = dropped_.find(child);
    const bool untouched = !changed_.contains(child) && was != dropped_.end() &&
                           was->second.owner == to.owner && was->second.kind == child_kind &&
                           role_[child] == child_kind && parent_[child] == 0;
    parent_[child] = to.page;
    if (!untouched) {
      work_.push_back({.page = child, .owner = to.owner, .kind = child_kind});
      return absl::OkStatus();
    }
    dropped_.erase(was);
    if (const auto held = waiting_.find(child); held != waiting_.end()) {
      for (const std::uint32_t page : held->second) {
        work_.push_back({.page = page, .owner = to.owner, .kind = role_[page]});
      }
      waiting_.erase(held);
    }
    return absl::OkStatus();
  }

  // What nothing points to any more, or another table does, and was not written: its rows were there before.
  absl::Status collect_dropped() {
    std::vector<work> stack;
    for (const auto& [page, was] : dropped_) {
      if (!changed_.contains(page)) stack.push_back({.page = page, .owner = was.owner, .kind = was.kind});
    }
    while (!stack.empty()) {
      const work w = stack.back();
      stack.pop_back();
      if (w.kind == role::overflow || changed_.contains(w.page)) continue;  // changed ones have been noted
      if (!gone_.insert(w.page).second) return used_twice(w.page);
      UNDERSTUDY_ASSIGN_OR_RETURN(const btree_page parsed, parse(before_, w.page, w.kind));
      note(affected_.tables[w.owner].before, w.page, parsed, w.kind);
      UNDERSTUDY_RETURN_IF_ERROR(
          for_children(before_, w.page, w.kind, &parsed, [&](std::uint32_t child, role kind) {
            if (kind != role::overflow) stack.push_back({.page = child, .owner = w.owner, .kind = kind});
            return absl::OkStatus();
          }));
    }
    return absl::OkStatus();
  }

  // SQLite overwrites a row of the same size in place: then only overflow pages change, not the page of the
  // row.
  absl::Status collect_leaves_of_overflow() {
    for (const auto& [page, owner] : leaves_of_overflow_) {
      if (changed_.contains(page) || gone_.contains(page) || page > after_.pages()) continue;
      const role kind = role_[page];
      if (kind != role::table && kind != role::index) continue;
      UNDERSTUDY_ASSIGN_OR_RETURN(const btree_page parsed, parse(before_, page, kind));
      note(affected_.tables[owner].before, page, parsed, kind);
      if (!done_.contains(page)) note(affected_.tables[owner].after, page, parsed, kind);
    }
    return absl::OkStatus();
  }

  std::vector<std::uint32_t>& parent_;
  std::vector<role>& role_;
  image& before_;
  image& after_;
  const tree_roots& roots_before_;
  const tree_roots& roots_after_;
  std::vector<std::uint32_t> list_;
  absl::flat_hash_set<std::uint32_t> changed_;
  absl::flat_hash_map<std::uint32_t, place> places_;
  absl::flat_hash_map<std::uint32_t, dropped>
      dropped_;  // lost the page that pointed to them, and found none yet
  absl::flat_hash_map<std::uint32_t, std::vector<std::uint32_t>>
      waiting_;  // changed pages, by what they hang on
  absl::flat_hash_map<std::uint32_t, std::size_t> leaves_of_overflow_;
  absl::flat_hash_set<std::uint32_t> done_;
  absl::flat_hash_set<std::uint32_t> gone_;
  std::vector<work> work_;
  affected_pages affected_;
};

absl::StatusOr<affected_pages> page_owners::advance(image& before, const tree_roots& roots_before,
                                                    image& after, const tree_roots& roots_after,
                                                    std::span<const std::uint32_t> changed) {
  return advance_pass(*this, before, roots_before, after, roots_after, changed).run();
}

bool page_owners::any_below(std::uint32_t root, std::span<const std::uint32_t> changed) const {
  absl::flat_hash_set<std::uint32_t> seen;
  for (std::uint32_t page : changed) {
    while (page != root && page < parent_.size() && parent_[page] != 0 && seen.insert(page).second) {
      page = parent_[page];
    }
    if (page == root) return true;
  }
  return false;
}

}  // namespace understudy::rows
