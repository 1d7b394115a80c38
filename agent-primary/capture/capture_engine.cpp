#include "agent-primary/capture/capture_engine.hpp"

#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <map>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "agent-primary/capture/database_watcher.hpp"
#include "agent-primary/capture/event_queue.hpp"
#include "common/os/unique_fd.hpp"
#include "common/status/errno_status.hpp"

namespace understudy::capture {
namespace {

using std::chrono::steady_clock;

constexpr int real_time_priority = 1;  // above every ordinary process, below whatever else is real-time

bool set_real_time(bool on) {
  struct ::sched_param parameter {};
  parameter.sched_priority = on ? real_time_priority : 0;
  return ::pthread_setschedparam(::pthread_self(), on ? SCHED_FIFO : SCHED_OTHER, &parameter) == 0;
}

void wait(int events, int wake, steady_clock::time_point until) {
  const auto left = std::chrono::duration_cast<std::chrono::nanoseconds>(until - steady_clock::now()).count();
  if (left <= 0) return;
  const struct ::timespec time {
    .tv_sec = static_cast<time_t>(left / 1'000'000'000), .tv_nsec = static_cast<long>(left % 1'000'000'000)
  };
  struct ::pollfd fds[] = {{.fd = events, .events = POLLIN, .revents = 0},
                           {.fd = wake, .events = POLLIN, .revents = 0}};
  ::ppoll(fds, 2, &time, nullptr);
}

}  // namespace

class capture_engine::implementation {
 public:
  implementation(capture_options options, event_queue events, os::unique_fd wake)
      : options_(options),
        events_(std::move(events)),
        wake_(std::make_shared<const os::unique_fd>(std::move(wake))) {
    thread_ = std::thread([this] { run(); });
  }

  ~implementation() {
    stop_ = true;
    signal();
    thread_.join();
  }

  std::shared_ptr<channel::database_source> add(std::string path) {
    std::lock_guard lock(mutex_);
    auto& watcher = watchers_[path];
    if (!watcher) {
      watcher = std::make_shared<database_watcher>(path, options_, events_, buffer_, databases_,
                                                   [wake = wake_] { signal(*wake); });
      changed_ = true;
      signal();
    }
    return watcher->image();
  }

  void remove(const std::string& path) {
    std::lock_guard lock(mutex_);
    const auto it = watchers_.find(path);
    if (it == watchers_.end()) return;
    removed_.push_back(std::move(it->second));
    watchers_.erase(it);
    changed_ = true;
    signal();
  }

  void hold(const std::string& path, bool on) {
    std::lock_guard lock(mutex_);
    if (const auto it = watchers_.find(path); it != watchers_.end()) it->second->hold(on);
  }

  void verify(const std::string& path) {
    std::lock_guard lock(mutex_);
    const auto it = watchers_.find(path);
    if (it == watchers_.end()) return;
    it->second->verify();
    signal();
  }

  capture_metrics metrics(const std::string& path) const {
    std::lock_guard lock(mutex_);
    const auto it = watchers_.find(path);
    return it == watchers_.end() ? capture_metrics{} : it->second->metrics();
  }

  bool real_time() const { return real_time_; }

 private:
  static void signal(const os::unique_fd& wake) {
    const std::uint64_t one = 1;
    [[maybe_unused]] const ssize_t written = ::write(wake.value(), &one, sizeof one);
  }
  void signal() { signal(*wake_); }

  // Takes over what add() and remove() did.
  void update(std::vector<std::shared_ptr<database_watcher>>& active) {
    std::vector<std::shared_ptr<database_watcher>> removed;
    {
      std::lock_guard lock(mutex_);
      if (!changed_) return;
      changed_ = false;
      removed.swap(removed_);
      active.clear();
      for (const auto& [path, watcher] : watchers_) active.push_back(watcher);
      databases_ = active.size();
    }
    for (const auto& watcher : removed) watcher->close();
  }

  void run() {
    ::pthread_setname_np(::pthread_self(), "capture");
    ::prctl(PR_SET_TIMERSLACK, 1UL, 0UL, 0UL,
            0UL);  // 1 ns: polls are 50 us apart, the default slack is as much
    real_time_ = options_.real_time && set_real_time(true);
    bool elevated = real_time_;
    std::vector<std::shared_ptr<database_watcher>> active;
    while (!stop_) {
      std::uint64_t count;
      [[maybe_unused]] const ssize_t got = ::read(wake_->value(), &count, sizeof count);
      update(active);
      const auto began = steady_clock::now();
      events_.drain();
      auto next = steady_clock::now() + options_.safety_poll;
      bool scanning = false;
      bool let_wait = false;
      for (const auto& watcher : active) {
        const auto now = steady_clock::now();
        if (watcher->due() <= now) watcher->step(now, began);
        next = std::min(next, watcher->due());
        scanning = scanning || watcher->long_scan();
        let_wait = let_wait || watcher->events_may_wait(now);
      }
      // A long scan takes all the time it can get, and must not take it from the application.
      if (real_time_ && elevated == scanning && set_real_time(!scanning)) elevated = !scanning;
      // Each write of a busy application makes an event. To be woken by each would cost both of us more than
      // the short time until the next poll is worth.
      if (let_wait) {
        wait(-1, wake_->value(), std::min(next, steady_clock::now() + options_.longest_poll / 2));
      } else {
        wait(events_.descriptor(), wake_->value(), next);
      }
    }
    changed_ = true;
    update(active);
    for (const auto& watcher : active) watcher->close();
  }

  const capture_options options_;
  event_queue events_;                               // the thread's
  std::vector<std::byte> buffer_;                    // the thread's
  std::size_t databases_ = 0;                        // the thread's
  const std::shared_ptr<const os::unique_fd> wake_;  // sources may outlive the engine
  std::atomic<bool> stop_{false};
  std::atomic<bool> real_time_{false};
  mutable std::mutex mutex_;
  std::map<std::string, std::shared_ptr<database_watcher>> watchers_;
  std::vector<std::shared_ptr<database_watcher>> removed_;  // closed and destroyed by the thread
  std::atomic<bool> changed_{false};
  std::thread thread_;
};

absl::StatusOr<std::unique_ptr<capture_engine>> capture_engine::start(capture_options options) {
  auto events = event_queue::open();
  if (!events.ok()) return events.status();
  os::unique_fd wake(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
  if (!wake) return errno_status(errno, "eventfd", "the capture");
  return std::unique_ptr<capture_engine>(
      new capture_engine(std::make_unique<implementation>(options, *std::move(events), std::move(wake))));
}

capture_engine::capture_engine(std::unique_ptr<implementation> hidden) : implementation_(std::move(hidden)) {}
capture_engine::~capture_engine() = default;

std::shared_ptr<channel::database_source> capture_engine::add(std::string path) {
  return implementation_->add(std::move(path));
}
void capture_engine::remove(const std::string& path) {
  implementation_->remove(path);
}
void capture_engine::hold(const std::string& path, bool on) {
  implementation_->hold(path, on);
}
void capture_engine::verify(const std::string& path) {
  implementation_->verify(path);
}
capture_metrics capture_engine::metrics(const std::string& path) const {
  return implementation_->metrics(path);
}
bool capture_engine::real_time() const {
  return implementation_->real_time();
}

}  // namespace understudy::capture
