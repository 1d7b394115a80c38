#include "agent-primary/files/inotify_tree.hpp"

#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <utility>

#include "common/files/tree_path.hpp"

namespace understudy::files {
namespace {

constexpr std::uint32_t events_wanted = IN_MODIFY | IN_CLOSE_WRITE | IN_ATTRIB | IN_MOVED_FROM | IN_MOVED_TO |
                                        IN_CREATE | IN_DELETE | IN_DELETE_SELF | IN_MOVE_SELF |
                                        IN_EXCL_UNLINK | IN_ONLYDIR;
constexpr std::chrono::milliseconds at_once{0};

std::string key_of(int watch) {
  return {reinterpret_cast<const char*>(&watch), sizeof watch};
}

}  // namespace

absl::Status inotify_tree::open_queue() {
  inotify_.reset(::inotify_init1(IN_NONBLOCK | IN_CLOEXEC));
  if (!inotify_) return absl::ResourceExhaustedError(fmt::format("inotify_init1: {}", std::strerror(errno)));
  return absl::OkStatus();
}

std::string inotify_tree::watch(os::directory& opened) {
  if (options_.most_watches > 0 && watched() >= static_cast<std::size_t>(options_.most_watches)) {
    ran_out_ = true;
    return {};
  }
  // Through the held descriptor: no path can lead astray, however long it is.
  const std::string path = fmt::format("/proc/self/fd/{}", opened.descriptor());
  const int watch = ::inotify_add_watch(inotify_.value(), path.c_str(), events_wanted);
  if (watch < 0) {
    ran_out_ = ran_out_ || errno == ENOSPC;
    return {};
  }
  return key_of(watch);
}

void inotify_tree::unwatch(const std::string& key) {
  int watch = -1;
  std::memcpy(&watch, key.data(), sizeof watch);
  ::inotify_rm_watch(inotify_.value(), watch);
}

void inotify_tree::read_events() {
  alignas(inotify_event) std::array<char, 64 * 1024> buffer;
  const ssize_t length = ::read(inotify_.value(), buffer.data(), buffer.size());
  for (ssize_t at = 0; at < length && !lost_;) {
    const auto* event = reinterpret_cast<const inotify_event*>(buffer.data() + at);
    at += static_cast<ssize_t>(sizeof(inotify_event)) + event->len;
    handle(*event);
  }
}

// The second half of a rename did not come: the entry has left the tree.
void inotify_tree::give_up_pair() {
  if (!moved_from_) return;
  const moved_away gone = *std::exchange(moved_from_, std::nullopt);
  if (gone.is_directory) forget(gone.path);
  dirty_.mark_gone(gone.path);
}

watched_tree::directory* inotify_tree::find(std::string_view path) {
  directory* at = &top_;
  for (std::size_t begin = 0; !path.empty() && begin <= path.size();) {
    const std::size_t end = std::min(path.find('/', begin), path.size());
    const auto child = at->children.find(path.substr(begin, end - begin));
    if (child == at->children.end()) return nullptr;
    at = child->second.get();
    begin = end + 1;
  }
  return at;
}

void inotify_tree::forget(std::string_view path) {
  directory* d = find(path);
  if (d == nullptr || d->parent == nullptr) return;
  drop(*d);
  d->parent->children.erase(d->parent->children.find(d->name));
}

void inotify_tree::handle(const inotify_event& event) {
  if ((event.mask & IN_Q_OVERFLOW) != 0) {  // its watch descriptor is -1
    lost_ = true;
    return;
  }
  directory* const d = known(key_of(event.wd));
  if (d == nullptr) return;
  if ((event.mask & IN_IGNORED) != 0) return unwatched(*d);
  if ((event.mask & (IN_UNMOUNT | IN_DELETE_SELF | IN_MOVE_SELF)) != 0) {
    // Of what lies below the base, the parent directory tells.
    if (d == &top_ || (event.mask & IN_UNMOUNT) != 0) lost_ = true;
    return;
  }
  if (event.len == 0) {
    if (d == &top_) dirty_.mark(base_path, false, false, at_once);
    return;
  }
  handle_entry(event, *d);
}

void inotify_tree::handle_entry(const inotify_event& event, directory& d) {
  const std::string directory_path = path_of(d);
  const std::string name(event.name);
  const std::string path = join(directory_path, name);
  const bool is_directory = (event.mask & IN_ISDIR) != 0;
  if (is_directory ? !matcher_.includes_directory(path) : !matcher_.includes_file(path)) {
    // The name it was given may be one that travels, or the name that it had.
    if ((event.mask & IN_MOVED_TO) != 0) give_up_pair();
    return;
  }
  if (moved_from_ && ((event.mask & IN_MOVED_TO) == 0 || event.cookie != moved_from_->cookie)) give_up_pair();
  if ((event.mask & (IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO)) != 0)
    mark_directory(directory_path);
  if ((event.mask & IN_MOVED_FROM) != 0) {
    moved_from_ = moved_away{.cookie = event.cookie, .path = path, .is_directory = is_directory};
  } else if ((event.mask & IN_MOVED_TO) != 0) {
    moved_to(d, name, path, is_directory);
  } else if ((event.mask & IN_CREATE) != 0) {
    if (is_directory) {
      begin_directory(d, name, path);
    } else {
      dirty_.mark(path, true, false, options_.created_delay);
    }
  } else if ((event.mask & IN_DELETE) != 0) {
    if (is_directory) forget(path);
    dirty_.mark_gone(path);
  } else if ((event.mask & IN_CLOSE_WRITE) != 0) {
    dirty_.mark(path, true, false, at_once);
  } else if ((event.mask & IN_MODIFY) != 0) {
    dirty_.mark(path, true, false, options_.written_delay);
  } else if ((event.mask & IN_ATTRIB) != 0) {
    dirty_.mark(path, false, false, at_once);
  }
}

void inotify_tree::moved_to(directory& parent, const std::string& name, const std::string& path,
                            bool is_directory) {
  if (!moved_from_) {  // from outside
    if (is_directory) return begin_directory(parent, name, path);
    dirty_.mark(path, true, false, at_once);
    return;
  }
  const moved_away from = *std::exchange(moved_from_, std::nullopt);
  if (is_directory && find(path) != nullptr) {
    // It replaced an empty directory, or two were exchanged: the events do not tell which. Rare: watch
    // anew.
    lost_ = true;
    return;
  }
  forget(path);
  if (is_directory) {
    directory* moved = find(from.path);
    if (moved == nullptr || moved->parent == nullptr) {
      begin_directory(parent, name, path);
    } else {
      move(*moved, parent, name);
    }
  }
  dirty_.mark_renamed(from.path, path);
}

}  // namespace understudy::files
