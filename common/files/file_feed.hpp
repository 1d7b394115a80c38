#pragma once

// What was applied to the file trees of one server's copy and is durable, in order: the last of it, in
// memory, for any number of readers who come and go. One who applies changes never waits for a reader: what
// does not fit any more falls out at the old end, and a reader who had not come so far is told how much he
// missed. Threads: any.

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "common/files/entry.hpp"

namespace understudy::files {

enum class applied_kind {
  put,         // there was nothing of this path before
  changed,     // replaced by another content, or added to
  removed,     // with all below it
  renamed,     // with all below it
  attributes,  // mode, owner, times, extended attributes
  linked,      // a further name
  unclear,     // refused; the entry is as it was, or changed in part
  gap,         // changes that nobody counted are missing here
};

struct applied_change {
  applied_kind kind = applied_kind::gap;
  std::shared_ptr<const std::string> base;  // of the tree
  std::string path;
  std::string from;    // the old path, or the other name
  std::string target;  // of a symlink that was put in place
  std::string reason;  // unclear, gap
  entry_kind entry = entry_kind::regular;
  std::uint64_t size = 0;
  epoch_ns modified_at = 0;
  epoch_ns seen_at = 0;                              // by the primary's clock; 0: not said
  std::chrono::system_clock::time_point applied_at;  // by ours
};

struct file_feed_bounds {
  std::size_t changes = 16'384;
  std::size_t bytes = 4 << 20;  // for each server, whoever reads
};

class file_feed {
 public:
  using entry_list = std::vector<std::shared_ptr<const applied_change>>;

  explicit file_feed(file_feed_bounds bounds = {});

  // What is durable now.
  void add(std::vector<applied_change>&& changes);

  // Random: a position in another feed, one of a former process say, means nothing in this one.
  std::uint64_t id() const { return id_; }
  // Changes are counted from 1. Where one stands who has read everything, and who has read nothing of what is
  // kept.
  std::uint64_t last() const;
  std::uint64_t before_oldest() const;

  struct portion {
    std::uint64_t missing = 0;  // after `position`, fallen out
    std::uint64_t first = 0;    // the number of the first of `changes`
    entry_list changes;
  };
  // What comes after `position`, at most `most` of it; waits up to `patience` for something.
  portion read(std::uint64_t position, std::size_t most, std::chrono::milliseconds patience) const;

 private:
  const file_feed_bounds bounds_;
  const std::uint64_t id_;
  mutable std::mutex mutex_;
  mutable std::condition_variable more_;
  std::deque<std::shared_ptr<const applied_change>> kept_;
  std::uint64_t last_ = 0;
  std::size_t bytes_ = 0;
};

}  // namespace understudy::files
