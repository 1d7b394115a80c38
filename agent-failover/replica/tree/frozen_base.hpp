#pragma once

// What a copy had of its source when the source was last heard: the measure by which a failback tells what
// the primary changed on its own. A moment of the source's clock, and the files that were copied about it or
// later, as the copy has them. A few kilobytes in a file beside the copy, however large the tree is.

#include <map>
#include <span>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "common/files/entry.hpp"
#include "common/files/selection.hpp"
#include "common/os/file_system.hpp"

namespace understudy::v1 {
class FileChange;
class FilesBase;
}  // namespace understudy::v1

namespace understudy::files {

struct frozen_base {
  epoch_ns in_step_until = 0;  // 0: the copy was never in step
  std::map<std::string, entry> recent;
};

// Timestamps tick coarsely, and a watcher may be late by as much under load: what changed this shortly before
// `in_step_until` may be newer than the copy.
inline constexpr epoch_ns base_doubt = 2'000'000'000;

v1::FilesBase to_message(const frozen_base& base);
absl::StatusOr<frozen_base> from_message(const v1::FilesBase& message);

// In NAME.frozen of a directory.
absl::Status store_base(os::directory& area, std::string_view name, const frozen_base& base);
// Of the tree `name` of a server whose directory is `beside` (tree_sink_options); never in step when there is
// none.
frozen_base load_base(os::file_system& fs, std::string_view beside, std::string_view name);

// Which paths were copied since the copy was last known to be in step. Bounded.
class recent_changes {
 public:
  void add(std::span<const v1::FileChange> changes);
  void in_step(epoch_ns until);
  epoch_ns in_step_until() const { return in_step_until_; }
  frozen_base freeze(os::directory& tree, const selection_matcher& matcher, epoch_ns until) const;

 private:
  std::map<std::string, epoch_ns> seen_at_;
  epoch_ns in_step_until_ = 0;
};

}  // namespace understudy::files
