#include "agent-primary/files/tree_watcher.hpp"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <array>
#include <utility>

#include "agent-primary/files/fanotify_tree.hpp"
#include "agent-primary/files/inotify_tree.hpp"
#include "common/log/log.hpp"
#include "common/status/status_text.hpp"

namespace understudy::files {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

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

std::unique_ptr<watched_tree> tree_watcher::begin() {
  using watching = tree_watcher_options::watching;
  const auto by_fanotify = [this](std::unique_ptr<watched_tree>& tree) {
    tree = std::make_unique<fanotify_tree>(options_, *matcher_, dirty_);
    absl::Status started = tree->start();
    if (started.ok() && tree->ran_out())
      return absl::UnimplementedError("not all of its file systems allow it");
    return started;
  };
  std::unique_ptr<watched_tree> wider;
  if (options_.way == watching::fanotify_first && by_fanotify(wider).ok()) return wider;
  auto tree = std::make_unique<inotify_tree>(options_, *matcher_, dirty_);
  if (!tree->start().ok()) return nullptr;
  if (!tree->ran_out()) return tree;
  absl::Status refused = absl::UnimplementedError("not wanted");
  if (options_.way == watching::inotify_first) refused = by_fanotify(wider);
  if (refused.ok()) {
    log::info("files", "{}: the kernel's inotify watches have run out; fanotify tells of changes",
              options_.root);
    return wider;
  }
  log::warning(
      "files",
      "{}: the kernel's inotify watches have run out; scanning every {} ms instead. Raise "
      "fs.inotify.max_user_watches (sysctl), or allow fanotify (CAP_SYS_ADMIN; {}), to follow changes as "
      "they happen",
      options_.root, options_.scan_interval.count(), message_of(refused));
  return tree;
}

void tree_watcher::run() {
  const auto wait = [&](int descriptor, milliseconds at_most) {
    std::array<pollfd, 2> polled{pollfd{.fd = wake_.value(), .events = POLLIN, .revents = 0},
                                 pollfd{.fd = descriptor, .events = POLLIN, .revents = 0}};
    ::poll(polled.data(), descriptor >= 0 ? 2 : 1, static_cast<int>(at_most.count()));
    return descriptor >= 0 && polled[1].revents != 0;
  };
  while (!stopping_) {
    const std::unique_ptr<watched_tree> tree = begin();
    if (tree == nullptr) {
      complete_ = false;
      dirty_.mark_everything();  // the session finds out what is wrong and says so
      wait(-1, retry_missing);
      continue;
    }
    complete_ = !tree->ran_out();
    const auto began = steady_clock::now();
    auto scanned = began;
    auto base_seen = began;
    while (!stopping_ && !tree->is_lost()) {
      if (options_.before_read && options_.before_read()) break;
      const epoch_ns before = wall_now();
      const bool more = wait(tree->descriptor(), at_once);
      if (more) {
        tree->read_events();
      } else {
        tree->caught_up();
        if (!tree->waits_for_pair() && !tree->ran_out()) dirty_.set_complete_until(before);
        if (!wait(tree->descriptor(), tree->waits_for_pair() ? pair_wait : idle_turn)) tree->give_up_pair();
      }
      const auto now = steady_clock::now();
      if (now - base_seen >= idle_turn) {  // also while others keep the file system busy
        if (!tree->is_same_base()) break;
        base_seen = now;
      }
      if (tree->ran_out() && now - scanned >= options_.scan_interval) {
        scanned = now;
        dirty_.mark_everything();
      }
      complete_ = !tree->ran_out();
      if (tree->ran_out() && now - began >= retry_limit) break;
    }
    if (!stopping_) dirty_.mark_everything();
  }
}

}  // namespace understudy::files
