#pragma once

// The one inotify instance of a capture. Several databases in one directory share that directory's watch.

#include <sys/inotify.h>

#include <cstdint>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "common/os/unique_fd.hpp"

namespace understudy::capture {

class event_receiver {
 public:
  virtual ~event_receiver() = default;
  // `name` is empty for an event of a watched file itself. `mask` is IN_Q_OVERFLOW (watch -1) when events
  // were lost.
  virtual void on_event(int watch, std::uint32_t mask, std::string_view name) = 0;
};

// Used by one thread.
class event_queue {
 public:
  static absl::StatusOr<event_queue> open();

  int descriptor() const { return fd_.value(); }
  // A watch for `receiver`, or -1 (the limit fs.inotify.max_user_watches, or no such path).
  int watch(event_receiver& receiver, const std::string& path, std::uint32_t mask);
  int watch_file(event_receiver& receiver, int fd, std::uint32_t mask);  // this very inode, whatever its name
  void unwatch(event_receiver& receiver, int watch);
  // Delivers what waits, without waiting. Returns whether there was anything.
  bool drain();

 private:
  explicit event_queue(os::unique_fd fd) : fd_(std::move(fd)) {}
  os::unique_fd fd_;
  std::map<int, std::set<event_receiver*>> receivers_;
};

}  // namespace understudy::capture
