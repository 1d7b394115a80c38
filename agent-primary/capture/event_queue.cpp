#include "agent-primary/capture/event_queue.hpp"

#include <fmt/core.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include "common/status/errno_status.hpp"

namespace understudy::capture {

absl::StatusOr<event_queue> event_queue::open() {
  os::unique_fd fd(::inotify_init1(IN_NONBLOCK | IN_CLOEXEC));
  if (!fd) return errno_status(errno, "inotify_init1", "the capture");
  return event_queue(std::move(fd));
}

int event_queue::watch(event_receiver& receiver, const std::string& path, std::uint32_t mask) {
  const int watch = ::inotify_add_watch(fd_.value(), path.c_str(), mask);
  if (watch >= 0) receivers_[watch].insert(&receiver);
  return watch;
}

int event_queue::watch_file(event_receiver& receiver, int fd, std::uint32_t mask) {
  return watch(receiver, fmt::format("/proc/self/fd/{}", fd), mask);
}

void event_queue::unwatch(event_receiver& receiver, int watch) {
  const auto it = receivers_.find(watch);
  if (it == receivers_.end()) return;
  it->second.erase(&receiver);
  if (!it->second.empty()) return;
  receivers_.erase(it);
  ::inotify_rm_watch(fd_.value(), watch);
}

bool event_queue::drain() {
  alignas(struct ::inotify_event) std::array<char, 16384> buffer;
  bool any = false;
  for (;;) {
    const ssize_t got = ::read(fd_.value(), buffer.data(), buffer.size());
    if (got <= 0) return any;
    any = true;
    for (ssize_t at = 0; at < got;) {
      struct ::inotify_event event;
      std::memcpy(&event, buffer.data() + at, sizeof event);
      const char* name = buffer.data() + at + sizeof event;
      const std::string_view text(name, event.len == 0 ? 0 : ::strnlen(name, event.len));
      at += static_cast<ssize_t>(sizeof event + event.len);
      if ((event.mask & IN_Q_OVERFLOW) != 0) {
        std::set<event_receiver*> all;
        for (const auto& [watch, receivers] : receivers_) all.insert(receivers.begin(), receivers.end());
        for (auto* receiver : all) receiver->on_event(-1, IN_Q_OVERFLOW, {});
        continue;
      }
      const auto it = receivers_.find(event.wd);
      if (it == receivers_.end()) continue;
      const auto receivers = it->second;  // a receiver may watch or unwatch meanwhile
      for (auto* receiver : receivers) receiver->on_event(event.wd, event.mask, text);
      if ((event.mask & IN_IGNORED) != 0) receivers_.erase(event.wd);
    }
  }
}

}  // namespace understudy::capture
