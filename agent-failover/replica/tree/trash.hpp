#pragma once

// Deleted entries, kept for a while beside a tree: a directory per minute, in it the entries under their old
// paths. Bounded by bytes and by age; the oldest minutes go first. What alone is larger than the bound is not
// kept. Used by one thread.

#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/os/file_system.hpp"

namespace understudy::files {

struct trash_limits {
  std::uint64_t bytes = std::uint64_t{1} << 30;  // 0: nothing is kept
  std::chrono::seconds age = std::chrono::hours{7 * 24};
};

struct deleted_entry {
  std::string id;    // names it for restore(): unique in the trash
  std::string path;  // where it was in the tree
  std::uint64_t size = 0;
  std::chrono::system_clock::time_point deleted_at;  // to the minute
};

class trash {
 public:
  // Takes over what an earlier run left.
  static absl::StatusOr<std::unique_ptr<trash>> open(std::unique_ptr<os::directory> where,
                                                     trash_limits limits);

  // Moves an entry of the tree, with all below it, here; `bytes` is the sum of its files.
  absl::Status take(os::directory& tree, std::string_view path, std::uint64_t bytes,
                    std::chrono::system_clock::time_point now);
  // Removes what is over the limits.
  absl::Status prune(std::chrono::system_clock::time_point now);
  // Files and symlinks, newest minute first. `visit` returns false to stop.
  absl::Status list(const std::function<bool(const deleted_entry&)>& visit) const;
  // Moves a file to `path`, which must be free, in a tree of the same filesystem.
  absl::Status restore(std::string_view id, os::directory& tree, std::string_view path);
  std::uint64_t bytes() const { return bytes_; }

 private:
  struct generation {
    std::string name;  // minute since 1970, and a number where one minute needs more
    std::int64_t minute = 0;
    std::uint64_t bytes = 0;
  };
  trash(std::unique_ptr<os::directory> where, trash_limits limits)
      : where_(std::move(where)), limits_(limits) {}
  absl::Status drop_oldest();
  absl::Status begin_generation(std::int64_t minute);

  std::unique_ptr<os::directory> where_;
  trash_limits limits_;
  std::deque<generation> generations_;  // oldest first
  std::uint64_t bytes_ = 0;
};

}  // namespace understudy::files
