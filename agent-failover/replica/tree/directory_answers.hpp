#pragma once

// What a receiver answers to a sender that asks only for directories that differ (FileDirectoriesQuestion):
// digests of all that is there, read once, and of a directory that differs what is in it, read again. Nothing
// else may change the tree meanwhile.

#include <functional>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "agent-failover/replica/tree/tree_sink.hpp"
#include "common/files/tree_sums.hpp"

namespace understudy::v1 {
class FileDirectoriesQuestion;
class FilesSinkMessage;
}  // namespace understudy::v1

namespace understudy::files {

class directory_answers {
 public:
  // Reads the whole tree. `sink` outlives it.
  static absl::StatusOr<std::unique_ptr<directory_answers>> read(tree_sink& sink);

  // kInvalidArgument: no question of an honest sender.
  absl::Status answer(const v1::FileDirectoriesQuestion& question,
                      const std::function<void(v1::FilesSinkMessage&&)>& send);

 private:
  directory_answers(tree_sink& sink, comparison what) : sink_(sink), sums_(what) {}

  tree_sink& sink_;
  tree_sums sums_;
};

}  // namespace understudy::files
