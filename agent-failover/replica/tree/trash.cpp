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

constexpr std::uint64_t smallest_kept = 4096;  // bytes: a block of most filesystems, and an inode

std::int64_t minute_of(std::chrono::system_clock::time_point now) {
  return std::chrono::duration_cast<std::chrono::minutes>(now.time_since_epoch()).count();
}

}  // namespace

std::uint64_t kept_bytes(std::uint64_t size) {
  return std::max(size, smallest_kept);
}

std::string trash_beside(std::string_view name) {
  return join(".understudy-trash", name);
}

std::string trash_inside() {
  return join(reserved_name, "trash");
}

absl::Status each_entry(os::directory& where, const std::string& top,
                        const std::function<bool(std::string&& path, const struct ::stat&)>& visit) {
  std::vector<std::string> pending{top};
  bool go_on = true;
  while (!pending.empty() && go_on) {
    const std::string here = std::move(pending.back());
    pending.pop_back();
    const auto directory = where.open_directory(here);
    if (is_absent(directory.status())) continue;
    if (!directory.ok()) return directory.status();
    UNDERSTUDY_RETURN_IF_ERROR((*directory)->list([&](const os::directory_entry& found) {
      std::string path = join(here, found.name);
      if (found.type == S_IFDIR) pending.push_back(path);
      const absl::StatusOr<struct ::stat> status = (*directory)->status(found.name);
      if (status.ok()) go_on = visit(std::move(path), *status);
      return go_on;
    }));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<trash_generation>> trash_generations(os::directory& where) {
  std::vector<trash_generation> all;
  UNDERSTUDY_RETURN_IF_ERROR(where.list([&](const os::directory_entry& found) {
    trash_generation one{.name = found.name};
    const char* const end = one.name.data() + one.name.size();
    auto [at, error] = std::from_chars(one.name.data(), end, one.minute);
    if (error != std::errc{} || at == one.name.data()) return true;  // not ours
    if (at != end && *at == '.') std::from_chars(at + 1, end, one.number);
    all.push_back(std::move(one));
    return true;
  }));
  std::sort(all.begin(), all.end(), [](const trash_generation& a, const trash_generation& b) {
    return std::pair(a.minute, a.number) < std::pair(b.minute, b.number);
  });
  return all;
}

absl::StatusOr<std::unique_ptr<trash>> trash::open(std::unique_ptr<os::directory> where,
                                                   trash_limits limits) {
  std::unique_ptr<trash> opened(new trash(std::move(where), limits));
  UNDERSTUDY_ASSIGN_OR_RETURN(auto found, trash_generations(*opened->where_));
  for (trash_generation& one : found) {
    one.bytes = smallest_kept;
    UNDERSTUDY_RETURN_IF_ERROR(
        each_entry(*opened->where_, one.name, [&](std::string&&, const struct ::stat& status) {
          one.bytes += kept_bytes(S_ISDIR(status.st_mode) ? 0 : static_cast<std::uint64_t>(status.st_size));
          return true;
        }));
    opened->bytes_ += one.bytes;
    opened->generations_.push_back(std::move(one));
  }
  return opened;
}

absl::Status trash::begin_generation(std::int64_t minute) {
  for (int n = 0;; ++n) {
    std::string name = n == 0 ? fmt::format("{}", minute) : fmt::format("{}.{}", minute, n);
    const absl::Status made = where_->make_directory(name, 0700);
    if (absl::IsAlreadyExists(made)) continue;
    UNDERSTUDY_RETURN_IF_ERROR(made);
    generations_.push_back({.name = std::move(name), .minute = minute, .number = n, .bytes = smallest_kept});
    bytes_ += smallest_kept;
    return absl::OkStatus();
  }
}

absl::Status trash::take(os::directory& tree, std::string_view path, std::uint64_t bytes,
                         std::chrono::system_clock::time_point now) {
  bytes = kept_bytes(bytes);
  if (bytes > limits_.bytes) return remove_tree(tree, path);
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

}  // namespace understudy::files
