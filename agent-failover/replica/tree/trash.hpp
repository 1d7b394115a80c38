#pragma once

// Deleted entries, kept for a while beside a tree: a directory per minute, in it the entries under their old
// paths. Bounded by bytes, and so in number too, and by age; the oldest minutes go first. What alone is
// larger than the bound is not kept. Used by one thread.

#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/os/file_system.hpp"

namespace understudy::files {

struct trash_limits {
  std::uint64_t bytes = std::uint64_t{1} << 30;  // 0: nothing is kept
  std::chrono::seconds age = std::chrono::hours{7 * 24};
};

// What an entry of this size counts for: a block of the disk at least, also when it is empty.
std::uint64_t kept_bytes(std::uint64_t size);

// Where a tree's trash lies: in the directory beside the tree or, on another filesystem, in the tree.
std::string trash_beside(std::string_view name);
std::string trash_inside();

// A directory of the trash, with what was deleted in one minute.
struct trash_generation {
  std::string name;         // minute since 1970, and a number where one minute needs more
  std::int64_t minute = 0;  // since 1970
  int number = 0;
  std::uint64_t bytes = 0;
};

// Those that are there, the oldest first, without their bytes.
absl::StatusOr<std::vector<trash_generation>> trash_generations(os::directory& where);
// Everything below the directory `top` of `where`, with its path in `where`. What goes away meanwhile is left
// out. `visit` returns false to stop.
absl::Status each_entry(os::directory& where, const std::string& top,
                        const std::function<bool(std::string&& path, const struct ::stat&)>& visit);

class trash {
 public:
  // Takes over what an earlier run left.
  static absl::StatusOr<std::unique_ptr<trash>> open(std::unique_ptr<os::directory> where,
                                                     trash_limits limits);

  // Moves an entry of the tree, with all below it, here; `bytes`: the kept_bytes() of it and all that.
  absl::Status take(os::directory& tree, std::string_view path, std::uint64_t bytes,
                    std::chrono::system_clock::time_point now);
  // Removes what is over the limits.
  absl::Status prune(std::chrono::system_clock::time_point now);
  std::uint64_t bytes() const { return bytes_; }

 private:
  trash(std::unique_ptr<os::directory> where, trash_limits limits)
      : where_(std::move(where)), limits_(limits) {}
  absl::Status drop_oldest();
  absl::Status begin_generation(std::int64_t minute);

  std::unique_ptr<os::directory> where_;
  trash_limits limits_;
  std::deque<trash_generation> generations_;  // oldest first
  std::uint64_t bytes_ = 0;
};

}  // namespace understudy::files
