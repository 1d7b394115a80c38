#pragma once

// Watches a tree on a thread of its own and turns what it hears into hints. A directory is watched first and
// read then, so that nothing made in between is missed. By inotify; where its watches have run out, by
// fanotify if that is permitted, and by scans if not. Lost events (overflow) and a base that was replaced
// become "look at everything".

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <thread>

#include "agent-primary/files/dirty_set.hpp"
#include "common/files/selection.hpp"
#include "common/os/unique_fd.hpp"

namespace understudy::files {

struct tree_watcher_options {
  std::string root;  // absolute
  // How long a file that was written but not closed, or made but not written, is waited for.
  std::chrono::milliseconds written_delay{200};
  std::chrono::milliseconds created_delay{50};
  // When the kernel's watches have run out: "everything" this often.
  std::chrono::milliseconds scan_interval{5000};
  int most_watches = 0;  // of inotify; a limit below the kernel's; 0: none
  enum class watching { inotify_first, fanotify_first, inotify_only };
  watching way = watching::inotify_first;
  // For tests. Called on the thread before events are read, and may stall it; true: they are lost, as when
  // the kernel's queue runs over.
  std::function<bool()> before_read{};
};

class watched_tree;

class tree_watcher {
 public:
  // `dirty` outlives it.
  tree_watcher(tree_watcher_options options, std::shared_ptr<const selection_matcher> matcher,
               dirty_set& dirty);
  ~tree_watcher();

  // False: there is no base, or not every directory could be watched; scans stand in.
  bool is_complete() const { return complete_; }

 private:
  void run();
  // Null: there is no base.
  std::unique_ptr<watched_tree> begin();

  tree_watcher_options options_;
  std::shared_ptr<const selection_matcher> matcher_;
  dirty_set& dirty_;
  std::atomic<bool> complete_{false};
  std::atomic<bool> stopping_{false};
  os::unique_fd wake_;
  std::thread thread_;
};

}  // namespace understudy::files
