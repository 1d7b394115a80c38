#include "agent-failover/replica/tree/trash.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <charconv>
#include <utility>
#include <vector>

#include "agent-failover/replica/tree/remove_tree.hpp"
#include "common/files/tree_path.hpp"
#include "common/files/tree_walk.hpp"
#include "common/status/status_macros.hpp"

namespace understudy::files {
namespace {

std::int64_t minute_of(std::chrono::system_clock::time_point now) {
  return std::chrono::duration_cast<std::chrono::minutes>(now.time_since_epoch()).count();
}

// Every file and symlink below `top` of `where`, with its path below `top`.
absl::Status each_file(os::directory& where, const std::string& top,
                       const std::function<bool(const std::string& path, const struct ::stat&)>& visit) {
  std::vector<std::string> pending{top};
  while (!pending.empty()) {
    const std::string here = std::move(pending.back());
    pending.pop_back();
    UNDERSTUDY_ASSIGN_OR_RETURN(const auto directory, where.open_directory(here));
    bool go_on = true;
    UNDERSTUDY_RETURN_IF_ERROR(directory->list([&](const os::directory_entry& found) {
      std::string path = join(here, found.name);
      if (found.type == S_IFDIR) {
        pending.push_back(std::move(path));
        return true;
      }
      const absl::StatusOr<struct ::stat> status = directory->status(found.name);
      if (status.ok()) go_on = visit(path.substr(top.size() + 1), *status);
      return go_on;
    }));
    if (!go_on) break;
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<trash>> trash::open(std::unique_ptr<os::directory> where,
                                                   trash_limits limits) {
  std::unique_ptr<trash> opened(new trash(std::move(where), limits));
  std::vector<std::string> names;
  UNDERSTUDY_RETURN_IF_ERROR(opened->where_->list([&](const os::directory_entry& found) {
    names.push_back(found.name);
    return true;
  }));
  for (const std::string& name : names) {
    generation found{.name = name, .minute = 0, .bytes = 0};
    const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), found.minute);
    if (error != std::errc{} || end == name.data()) continue;  // not ours
    UNDERSTUDY_RETURN_IF_ERROR(
        each_file(*opened->where_, name, [&](const std::string&, const struct ::stat& status) {
          found.bytes += static_cast<std::uint64_t>(status.st_size);
          return true;
        }));
    opened->bytes_ += found.bytes;
    opened->generations_.push_back(std::move(found));
  }
  std::sort(opened->generations_.begin(), opened->generations_.end(),
            [](const generation& a, const generation& b) {
              return std::pair(a.minute, a.name) < std::pair(b.minute, b.name);
            });
  return opened;
}

absl::Status trash::begin_generation(std::int64_t minute) {
  for (int n = 0;; ++n) {
    std::string name = n == 0 ? fmt::format("{}", minute) : fmt::format("{}.{}", minute, n);
    const absl::Status made = where_->make_directory(name, 0700);
    if (absl::IsAlreadyExists(made)) continue;
    UNDERSTUDY_RETURN_IF_ERROR(made);
    generations_.push_back({.name = std::move(name), .minute = minute, .bytes = 0});
    return absl::OkStatus();
  }
}

absl::Status trash::take(os::directory& tree, std::string_view path, std::uint64_t bytes,
                         std::chrono::system_clock::time_point now) {
  if (bytes > limits_.bytes || limits_.bytes == 0) return remove_tree(tree, path);
  const std::int64_t minute = minute_of(now);
  if (generations_.empty() || generations_.back().minute != minute) {
    UNDERSTUDY_RETURN_IF_ERROR(begin_generation(minute));
  }
  for (int attempt = 0;; ++attempt) {
    const std::string target = join(generations_.back().name, path);
    absl::Status moved = open_or_make_directory(*where_, parent_of(target), 0700).status();
    if (moved.ok()) moved = tree.rename(path, *where_, target, os::rename_mode::no_replace);
    if (moved.ok()) break;
    // The same path was deleted in this minute before, or what is no directory has the name of one of its
    // parents.
    const bool taken = absl::IsAlreadyExists(moved) || is_absent(moved);
    if (!taken || attempt > 0) return moved;
    UNDERSTUDY_RETURN_IF_ERROR(begin_generation(minute));
  }
  generations_.back().bytes += bytes;
  bytes_ += bytes;
  return prune(now);
}

absl::Status trash::drop_oldest() {
  UNDERSTUDY_RETURN_IF_ERROR(remove_tree(*where_, generations_.front().name));
  bytes_ -= generations_.front().bytes;
  generations_.pop_front();
  return absl::OkStatus();
}

absl::Status trash::prune(std::chrono::system_clock::time_point now) {
  const std::int64_t oldest_minute = minute_of(now - limits_.age);
  while (!generations_.empty() && (bytes_ > limits_.bytes || generations_.front().minute < oldest_minute)) {
    UNDERSTUDY_RETURN_IF_ERROR(drop_oldest());
  }
  return absl::OkStatus();
}

absl::Status trash::list(const std::function<bool(const deleted_entry&)>& visit) const {
  bool go_on = true;
  for (auto g = generations_.rbegin(); g != generations_.rend() && go_on; ++g) {
    UNDERSTUDY_RETURN_IF_ERROR(
        each_file(*where_, g->name, [&](const std::string& path, const struct ::stat& status) {
          go_on =
              visit({.id = join(g->name, path),
                     .path = path,
                     .size = static_cast<std::uint64_t>(status.st_size),
                     .deleted_at = std::chrono::system_clock::time_point(std::chrono::minutes(g->minute))});
          return go_on;
        }));
  }
  return absl::OkStatus();
}

absl::Status trash::restore(std::string_view id, os::directory& tree, std::string_view path) {
  UNDERSTUDY_ASSIGN_OR_RETURN(const struct ::stat status, where_->status(id));
  if (const std::string_view parent = parent_of(path); !parent.empty()) {
    UNDERSTUDY_RETURN_IF_ERROR(open_or_make_directory(tree, parent, 0755).status());
  }
  UNDERSTUDY_RETURN_IF_ERROR(where_->rename(id, tree, path, os::rename_mode::no_replace));
  const std::uint64_t size = static_cast<std::uint64_t>(status.st_size);
  for (generation& g : generations_) {
    if (!is_below(id, g.name)) continue;
    g.bytes -= std::min(g.bytes, size);
    bytes_ -= std::min(bytes_, size);
  }
  return absl::OkStatus();
}

}  // namespace understudy::files
