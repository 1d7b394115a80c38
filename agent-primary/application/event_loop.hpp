#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <thread>
#include <unordered_map>
#include <vector>

#include "common/os/unique_fd.hpp"

namespace understudy::application {

// One thread that waits for descriptors and timers. It sleeps until one of them is due.
class event_loop {
 public:
  using clock = std::chrono::steady_clock;
  using timer_id = std::uint64_t;  // never reused; 0 is none

  event_loop();
  // Forgets what was posted and not yet run, timers and watches; joins.
  ~event_loop();
  event_loop(const event_loop&) = delete;
  event_loop& operator=(const event_loop&) = delete;

  // Any thread; runs in the order posted.
  void post(std::function<void()> task);
  // Ends the thread; nothing runs afterwards. Not from the loop's own thread.
  void stop();
  bool on_loop() const { return std::this_thread::get_id() == thread_.get_id(); }

  // On the loop's thread only:
  timer_id after(std::chrono::milliseconds delay, std::function<void()> task);
  void cancel(timer_id id);
  // Calls `task` each time the descriptor is readable, until unwatch(). The descriptor stays the caller's.
  void watch(int descriptor, std::function<void()> task);
  void unwatch(int descriptor);

 private:
  void run();
  int run_due_timers();  // returns milliseconds until the next one, -1: none
  void run_posted();

  os::unique_fd epoll_;
  os::unique_fd wake_;
  std::mutex mutex_;
  std::vector<std::function<void()>> posted_;  // under mutex_
  bool stopping_ = false;                      // under mutex_

  timer_id last_timer_ = 0;
  std::map<std::pair<clock::time_point, timer_id>, std::function<void()>> timers_;
  std::unordered_map<timer_id, clock::time_point> timer_times_;
  std::unordered_map<int, std::function<void()>> watches_;
  std::thread thread_;
};

}  // namespace understudy::application
