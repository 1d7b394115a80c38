#pragma once

// Where a tree may have changed: hints of the watcher, coalesced by path, until the session takes them.
// Bounded: too many hints become one, "everything". Thread-safe.

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "common/files/entry.hpp"

namespace understudy::files {

using steady_time = std::chrono::steady_clock::time_point;

struct hint {
  bool content = false;    // written, not only its metadata changed
  bool recursive = false;  // a directory about which nothing is known
  bool gone = false;       // removed, or moved out of the tree: no second half of a rename will come
  steady_time last;        // of the newest event
  steady_time due;         // not to be taken before
};

struct dirty_work {
  bool everything = false;
  std::vector<std::pair<std::string, std::string>>
      renames;  // in order; every path in `paths` is as after them
  std::map<std::string, hint> paths;
};

class dirty_set {
 public:
  // `delay`: how long more events of the same path may be waited for. The earliest due time counts.
  void mark(std::string_view path, bool content, bool recursive, std::chrono::milliseconds delay);
  void mark_gone(std::string_view path);
  // Both names become dirty, and hints below `from` move below `to`.
  void mark_renamed(std::string_view from, std::string_view to);
  void mark_everything();

  // What is due, for the newest session only: `session` is what begin_session() gave it. Renames come alone
  // first; what is to be looked at stays for the next call, whatever was renamed by then.
  dirty_work take(std::uint64_t session, steady_time now);
  // When something becomes due; nothing: never.
  std::optional<steady_time> next_due() const;
  bool empty() const;

  std::uint64_t begin_session(std::function<void()> ready);
  bool is_newest(std::uint64_t session) const;

  // Every change made before this moment (wall clock) is in the set, or was taken from it.
  void set_complete_until(epoch_ns moment);
  epoch_ns complete_until() const;

 private:
  void become_everything();  // with mutex_
  void wake();               // without mutex_

  mutable std::mutex mutex_;
  dirty_work work_;
  bool renames_went_ahead_ = false;
  epoch_ns complete_until_ = 0;
  std::uint64_t session_ = 0;
  std::function<void()> ready_;
};

}  // namespace understudy::files
