#include "agent-primary/application/event_loop.hpp"

#include <sys/epoll.h>
#include <sys/eventfd.h>

#include <algorithm>
#include <array>
#include <cstdlib>

namespace understudy::application {

event_loop::event_loop()
    : epoll_(::epoll_create1(EPOLL_CLOEXEC)), wake_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  if (!epoll_ || !wake_) std::abort();  // out of descriptors before anything began
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.fd = wake_.value();
  ::epoll_ctl(epoll_.value(), EPOLL_CTL_ADD, wake_.value(), &event);
  thread_ = std::thread([this] { run(); });
}

event_loop::~event_loop() {
  stop();
}

void event_loop::stop() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  ::eventfd_write(wake_.value(), 1);
  if (thread_.joinable()) thread_.join();
}

void event_loop::post(std::function<void()> task) {
  {
    std::lock_guard lock(mutex_);
    if (stopping_) return;
    posted_.push_back(std::move(task));
  }
  ::eventfd_write(wake_.value(), 1);
}

event_loop::timer_id event_loop::after(std::chrono::milliseconds delay, std::function<void()> task) {
  const timer_id id = ++last_timer_;
  const clock::time_point when = clock::now() + delay;
  timers_.emplace(std::pair(when, id), std::move(task));
  timer_times_.emplace(id, when);
  return id;
}

void event_loop::cancel(timer_id id) {
  const auto found = timer_times_.find(id);
  if (found == timer_times_.end()) return;
  timers_.erase(std::pair(found->second, id));
  timer_times_.erase(found);
}

void event_loop::watch(int descriptor, std::function<void()> task) {
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.fd = descriptor;
  ::epoll_ctl(epoll_.value(), EPOLL_CTL_ADD, descriptor, &event);
  watches_[descriptor] = std::move(task);
}

void event_loop::unwatch(int descriptor) {
  if (watches_.erase(descriptor) > 0) ::epoll_ctl(epoll_.value(), EPOLL_CTL_DEL, descriptor, nullptr);
}

int event_loop::run_due_timers() {
  while (!timers_.empty()) {
    const auto first = timers_.begin();
    const auto wait = first->first.first - clock::now();
    if (wait > clock::duration::zero()) {
      // Rounded up: waking early would spin through the last millisecond.
      return static_cast<int>(
          std::min<std::int64_t>(std::chrono::ceil<std::chrono::milliseconds>(wait).count(), 3'600'000));
    }
    const std::function<void()> task = std::move(first->second);
    timer_times_.erase(first->first.second);
    timers_.erase(first);
    task();
  }
  return -1;
}

void event_loop::run_posted() {
  std::vector<std::function<void()>> tasks;
  {
    std::lock_guard lock(mutex_);
    tasks.swap(posted_);
  }
  for (const std::function<void()>& task : tasks) task();
}

void event_loop::run() {
  std::array<epoll_event, 16> events;
  for (;;) {
    run_posted();
    const int timeout_ms = run_due_timers();
    {
      std::lock_guard lock(mutex_);
      if (stopping_) return;
      if (!posted_.empty()) continue;
    }
    const int count =
        ::epoll_wait(epoll_.value(), events.data(), static_cast<int>(events.size()), timeout_ms);
    for (int i = 0; i < count; ++i) {
      const int descriptor = events[static_cast<std::size_t>(i)].data.fd;
      if (descriptor == wake_.value()) {
        eventfd_t ignored = 0;
        ::eventfd_read(descriptor, &ignored);
        continue;
      }
      // Looked up each time: a task before this one may have unwatched it.
      const auto found = watches_.find(descriptor);
      if (found == watches_.end()) continue;
      const std::function<void()> task = found->second;
      task();
    }
  }
}

}  // namespace understudy::application
