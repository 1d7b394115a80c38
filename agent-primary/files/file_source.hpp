#pragma once

// The sending end of one file tree: watches it as long as it lives, with or without a stream, and remembers
// between streams what the receiver has. On the primary while it protects; on the failover host at failback.

#include <sys/types.h>

#include <chrono>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "agent-primary/files/dirty_set.hpp"
#include "agent-primary/files/tree_index.hpp"
#include "agent-primary/files/tree_watcher.hpp"
#include "common/files/selection.hpp"

namespace understudy::files {

struct file_source_options {
  selection what;      // what may be asked for: a stream may ask for other rows, not for another base
  std::string root{};  // where the tree lies here, absolute; empty: at what.base
  tree_watcher_options watcher{};  // `root` is set from the above
  // Everything is looked at again this often, whatever the events said.
  std::chrono::seconds rescan_interval{600};
};

// Thread-safe.
class file_source {
 public:
  // Begins to watch. A base that is missing is no error: the stream says so and waits for it.
  static absl::StatusOr<std::shared_ptr<file_source>> start(file_source_options options);

  const selection& what() const { return options_.what; }
  const std::string& root() const { return options_.root; }
  std::chrono::seconds rescan_interval() const { return options_.rescan_interval; }
  // False: there is no base, or changes are found by scans only.
  bool is_watching() const;

  // What is selected and cannot travel, as far as it was met: sockets, pipes and devices; at most 100.
  std::vector<std::string> left_out() const;

  // For sessions.
  // Logs it, the first time.
  void leave_out(const std::string& path, mode_t mode);
  dirty_set& dirty() { return dirty_; }
  // What `wanted` means; watches accordingly from now on. kInvalidArgument: it makes no sense;
  // kPermissionDenied: another base. Protected databases of either selection never travel.
  absl::StatusOr<std::shared_ptr<const selection_matcher>> select(const selection& wanted);
  struct memory {
    std::unique_ptr<tree_index> index;
    std::string copy;           // of which copy
    std::uint64_t durable = 0;  // what of the index is known to be durable there
  };
  memory take_memory();
  void keep_memory(memory known);

 private:
  explicit file_source(file_source_options options) : options_(std::move(options)) {}
  selection with_all_databases(const selection& wanted) const;

  file_source_options options_;
  dirty_set dirty_;
  mutable std::mutex mutex_;
  std::string selected_;  // serialized
  std::shared_ptr<const selection_matcher> matcher_;
  std::unique_ptr<tree_watcher> watcher_;
  memory memory_;
  std::set<std::string> left_out_;
};

}  // namespace understudy::files
