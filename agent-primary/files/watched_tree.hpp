#pragma once

// The directories of a tree that are watched, by their names and by what the kernel calls them in its events.
// What both ways of watching share; used by one thread. Each lives from watching the base until events are
// lost or the base goes.

#include <sys/stat.h>

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>

#include "absl/status/status.h"
#include "agent-primary/files/dirty_set.hpp"
#include "agent-primary/files/tree_watcher.hpp"
#include "common/files/selection.hpp"
#include "common/os/file_system.hpp"

namespace understudy::files {

class watched_tree {
 public:
  // All outlive it.
  watched_tree(const tree_watcher_options& options, const selection_matcher& matcher, dirty_set& dirty)
      : options_(options), matcher_(matcher), dirty_(dirty) {}
  virtual ~watched_tree() = default;

  // kUnavailable, kNotFound: the base cannot be read. kUnimplemented, kPermissionDenied: it cannot be watched
  // in this way. The rest: the system's limits.
  absl::Status start();

  virtual int descriptor() const = 0;  // readable: events are there
  virtual void read_events() = 0;
  // Every event that there was has been read.
  virtual void caught_up() {}
  // Half of a rename is known, and the other half follows at once or never.
  virtual bool waits_for_pair() const { return false; }
  virtual void give_up_pair() {}

  bool ran_out() const { return ran_out_; }  // not every directory is watched
  bool is_lost() const { return lost_; }     // what happened is not known any more
  // True while the base's path still leads to the directory that is watched.
  bool is_same_base() const;

 protected:
  struct directory {
    directory* parent = nullptr;
    std::string name;  // where there is no parent: the path that it had
    std::string key;   // empty: not watched
    std::map<std::string, std::unique_ptr<directory>, std::less<>> children;
  };

  virtual absl::Status open_queue() = 0;
  // What events will call the directory; empty: it could not be watched.
  virtual std::string watch(os::directory& opened) = 0;
  virtual void unwatch(const std::string& key) = 0;

  static std::string path_of(const directory& d);
  directory* known(const std::string& key);
  std::size_t watched() const { return by_key_.size(); }
  // Watches a directory, then reads it, then what is in it.
  void watch_below(directory& first);
  // Watches a new directory of `parent`, in the place of whatever had the name.
  void begin_directory(directory& parent, const std::string& name, const std::string& path);
  // Stops watching a directory and what is below it.
  void drop(directory& d);
  // The kernel has stopped watching it.
  void unwatched(directory& d);
  // `parent` has nothing of that name.
  static void move(directory& moved, directory& parent, const std::string& name);
  // No event announces the modification time of a directory.
  void mark_directory(const std::string& path);

  const tree_watcher_options& options_;
  const selection_matcher& matcher_;
  dirty_set& dirty_;
  std::unique_ptr<os::directory> root_;
  directory top_;
  bool ran_out_ = false;
  bool lost_ = false;

 private:
  bool begun_ = false;  // until then everything is to be looked at anyway
  dev_t device_ = 0;
  ino_t inode_ = 0;
  std::unordered_map<std::string, directory*> by_key_;
};

}  // namespace understudy::files
