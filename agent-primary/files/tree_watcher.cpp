#include "agent-primary/files/tree_watcher.hpp"

#include <fmt/core.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <map>
#include <optional>
#include <unordered_map>
#include <utility>
#include <vector>

#include "common/files/tree_path.hpp"
#include "common/log/log.hpp"
#include "common/os/file_system.hpp"
#include "common/status/status_text.hpp"

namespace understudy::files {
namespace {

using std::chrono::milliseconds;

constexpr std::uint32_t events_wanted = IN_MODIFY | IN_CLOSE_WRITE | IN_ATTRIB | IN_MOVED_FROM | IN_MOVED_TO |
                                        IN_CREATE | IN_DELETE | IN_DELETE_SELF | IN_MOVE_SELF |
                                        IN_EXCL_UNLINK | IN_ONLYDIR;
constexpr milliseconds idle_turn{500};  // how often the base is looked at, and "complete until" moves on
constexpr milliseconds pair_wait{5};    // for the second half of a rename: the kernel writes both at once
constexpr milliseconds retry_missing{1000};  // for a base that is not there
constexpr milliseconds retry_limit{60'000};  // for watches that ran out
constexpr milliseconds at_once{0};

epoch_ns wall_now() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

}  // namespace

// One life of an inotify descriptor: from watching the base until events are lost or the base goes.
class tree_watcher::watches {
 public:
  watches(const tree_watcher_options& options, const selection_matcher& matcher, dirty_set& dirty)
      : options_(options), matcher_(matcher), dirty_(dirty) {}

  absl::Status start() {
    inotify_.reset(::inotify_init1(IN_NONBLOCK | IN_CLOEXEC));
    if (!inotify_)
      return absl::ResourceExhaustedError(fmt::format("inotify_init1: {}", std::strerror(errno)));
    auto root = os::posix_file_system().open_root(options_.root);
    if (!root.ok()) return root.status();
    struct ::stat status {};
    if (::fstat((*root)->descriptor(), &status) != 0)
      return absl::UnavailableError("the base cannot be read");
    root_ = *std::move(root);
    device_ = status.st_dev;
    inode_ = status.st_ino;
    watch_below(top_);
    dirty_.mark_everything();
    return absl::OkStatus();
  }

  int descriptor() const { return inotify_.value(); }
  bool ran_out() const { return ran_out_; }
  bool is_lost() const { return lost_; }
  bool waits_for_pair() const { return moved_from_.has_value(); }

  // True while the base's path still leads to the directory that is watched.
  bool is_same_base() const {
    struct ::stat status {};
    return ::stat(options_.root.c_str(), &status) == 0 && status.st_dev == device_ && status.st_ino == inode_;
  }

  // Reads what there is. False: nothing was there.
  bool read_events() {
    alignas(inotify_event) std::array<char, 64 * 1024> buffer;
    const ssize_t length = ::read(inotify_.value(), buffer.data(), buffer.size());
    if (length <= 0) return false;
    for (ssize_t at = 0; at < length && !lost_;) {
      const auto* event = reinterpret_cast<const inotify_event*>(buffer.data() + at);
      at += static_cast<ssize_t>(sizeof(inotify_event)) + event->len;
      handle(*event);
    }
    return true;
  }

  // The second half of a rename did not come: the entry has left the tree.
  void give_up_pair() {
    if (!moved_from_) return;
    const moved_away gone = *std::exchange(moved_from_, std::nullopt);
    if (gone.is_directory) forget(gone.path);
    dirty_.mark_gone(gone.path);
  }

 private:
  struct directory {
    directory* parent = nullptr;
    std::string name;
    int watch = -1;
    std::map<std::string, std::unique_ptr<directory>, std::less<>> children;
  };
  struct moved_away {
    std::uint32_t cookie = 0;
    std::string path;
    bool is_directory = false;
  };

  static std::string path_of(const directory& d) {
    std::vector<const directory*> way;
    for (const directory* at = &d; at->parent != nullptr; at = at->parent) way.push_back(at);
    std::string path;
    for (auto at = way.rbegin(); at != way.rend(); ++at) path = join(path, (*at)->name);
    return path;
  }

  directory* find(std::string_view path) {
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

  // Watches a directory, then reads it, then what is in it.
  void watch_below(directory& first) {
    std::vector<directory*> pending{&first};
    while (!pending.empty()) {
      directory& d = *pending.back();
      pending.pop_back();
      const std::string path = path_of(d);
      std::unique_ptr<os::directory> opened;
      os::directory* here = root_.get();
      if (!path.empty()) {
        auto found = root_->open_directory(path);
        if (!found.ok()) continue;  // gone again: its parent tells
        opened = *std::move(found);
        here = opened.get();
      }
      add_watch(d, *here);
      (void)here->list([&](const os::directory_entry& found) {
        std::string child_path = join(path, found.name);
        if (found.type == S_IFDIR) {
          if (!matcher_.includes_directory(child_path)) return true;
          auto& child = d.children[found.name];
          if (child == nullptr) child = std::make_unique<directory>();
          child->parent = &d;
          child->name = found.name;
          pending.push_back(child.get());
        } else if (&d != &top_ && matcher_.includes_file(child_path)) {
          dirty_.mark(child_path, false, false, options_.created_delay);
        }
        return true;
      });
    }
  }

  void add_watch(directory& d, os::directory& opened) {
    if (options_.most_watches > 0 && by_watch_.size() >= static_cast<std::size_t>(options_.most_watches)) {
      ran_out_ = true;
      return;
    }
    // Through the held descriptor: no path can lead astray, however long it is.
    const std::string path = fmt::format("/proc/self/fd/{}", opened.descriptor());
    const int watch = ::inotify_add_watch(inotify_.value(), path.c_str(), events_wanted);
    if (watch < 0) {
      ran_out_ = ran_out_ || errno == ENOSPC;
      return;
    }
    d.watch = watch;
    by_watch_[watch] = &d;
  }

  // Stops watching a directory and what is below it.
  void forget(std::string_view path) {
    directory* d = find(path);
    if (d == nullptr || d->parent == nullptr) return;
    drop(*d, true);
    d->parent->children.erase(d->parent->children.find(d->name));
  }
  void drop(directory& d, bool remove_watches) {
    for (auto& [name, child] : d.children) drop(*child, remove_watches);
    const auto at = by_watch_.find(d.watch);
    if (at == by_watch_.end() || at->second != &d) return;
    if (remove_watches) ::inotify_rm_watch(inotify_.value(), d.watch);
    by_watch_.erase(at);
  }

  void handle(const inotify_event& event) {
    if ((event.mask & IN_Q_OVERFLOW) != 0) {  // its watch descriptor is -1
      lost_ = true;
      return;
    }
    const auto known = by_watch_.find(event.wd);
    if (known == by_watch_.end()) return;
    directory& d = *known->second;
    if ((event.mask & IN_IGNORED) != 0) {
      by_watch_.erase(known);
      d.watch = -1;
      return;
    }
    if ((event.mask & (IN_UNMOUNT | IN_DELETE_SELF | IN_MOVE_SELF)) != 0) {
      // Of what lies below the base, the parent directory tells.
      if (&d == &top_ || (event.mask & IN_UNMOUNT) != 0) lost_ = true;
      return;
    }
    if (event.len == 0) {
      if (&d == &top_) dirty_.mark(base_path, false, false, at_once);
      return;
    }
    handle_entry(event, d);
  }

  void handle_entry(const inotify_event& event, directory& d) {
    const std::string directory_path = path_of(d);
    const std::string name(event.name);
    const std::string path = join(directory_path, name);
    const bool is_directory = (event.mask & IN_ISDIR) != 0;
    if (is_directory ? !matcher_.includes_directory(path) : !matcher_.includes_file(path)) {
      // The name it was given may be one that travels, or the name that it had.
      if ((event.mask & IN_MOVED_TO) != 0) give_up_pair();
      return;
    }
    if (moved_from_ && ((event.mask & IN_MOVED_TO) == 0 || event.cookie != moved_from_->cookie))
      give_up_pair();
    const bool changes_directory = (event.mask & (IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO)) != 0;
    // No event announces the modification time of a directory.
    if (changes_directory)
      dirty_.mark(directory_path.empty() ? base_path : directory_path, false, false, at_once);
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

  void begin_directory(directory& parent, const std::string& name, const std::string& path) {
    forget(path);
    auto& child = parent.children[name];
    child = std::make_unique<directory>();
    child->parent = &parent;
    child->name = name;
    watch_below(*child);
    dirty_.mark(path, false, true, at_once);
  }

  void moved_to(directory& parent, const std::string& name, const std::string& path, bool is_directory) {
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
        auto taken = moved->parent->children.extract(moved->parent->children.find(moved->name));
        taken.key() = name;
        moved->name = name;
        moved->parent = &parent;
        parent.children.insert(std::move(taken));
      }
    }
    dirty_.mark_renamed(from.path, path);
  }

  const tree_watcher_options& options_;
  const selection_matcher& matcher_;
  dirty_set& dirty_;
  os::unique_fd inotify_;
  std::unique_ptr<os::directory> root_;
  dev_t device_ = 0;
  ino_t inode_ = 0;
  directory top_;
  std::unordered_map<int, directory*> by_watch_;
  std::optional<moved_away> moved_from_;
  bool ran_out_ = false;
  bool lost_ = false;
};

tree_watcher::tree_watcher(tree_watcher_options options, std::shared_ptr<const selection_matcher> matcher,
                           dirty_set& dirty)
    : options_(std::move(options)),
      matcher_(std::move(matcher)),
      dirty_(dirty),
      wake_(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)),
      thread_([this] { run(); }) {}

tree_watcher::~tree_watcher() {
  stopping_ = true;
  const std::uint64_t one = 1;
  (void)!::write(wake_.value(), &one, sizeof one);
  thread_.join();
}

void tree_watcher::run() {
  const auto wait = [&](int descriptor, milliseconds at_most) {
    std::array<pollfd, 2> polled{pollfd{.fd = wake_.value(), .events = POLLIN, .revents = 0},
                                 pollfd{.fd = descriptor, .events = POLLIN, .revents = 0}};
    ::poll(polled.data(), descriptor >= 0 ? 2 : 1, static_cast<int>(at_most.count()));
    return descriptor >= 0 && polled[1].revents != 0;
  };
  while (!stopping_) {
    watches life(options_, *matcher_, dirty_);
    if (const absl::Status started = life.start(); !started.ok()) {
      complete_ = false;
      dirty_.mark_everything();  // the session finds out what is wrong and says so
      wait(-1, retry_missing);
      continue;
    }
    if (life.ran_out()) {
      log::warning("files",
                   "{}: the kernel's inotify watches have run out; scanning every {} ms instead. Raise "
                   "fs.inotify.max_user_watches (sysctl) to follow changes as they happen",
                   options_.root, options_.scan_interval.count());
    }
    complete_ = !life.ran_out();
    const auto began = std::chrono::steady_clock::now();
    auto scanned = began;
    while (!stopping_ && !life.is_lost()) {
      if (options_.before_read && options_.before_read()) break;
      const epoch_ns before = wall_now();
      if (wait(life.descriptor(), at_once)) {
        life.read_events();
        continue;
      }
      if (!life.waits_for_pair() && !life.ran_out()) dirty_.set_complete_until(before);
      if (!wait(life.descriptor(), life.waits_for_pair() ? pair_wait : idle_turn)) {
        life.give_up_pair();
        if (!life.is_same_base()) break;
      }
      const auto now = std::chrono::steady_clock::now();
      if (life.ran_out() && now - scanned >= options_.scan_interval) {
        scanned = now;
        dirty_.mark_everything();
      }
      complete_ = !life.ran_out();
      if (life.ran_out() && now - began >= retry_limit) break;
    }
    if (!stopping_) dirty_.mark_everything();
  }
}

}  // namespace understudy::files
