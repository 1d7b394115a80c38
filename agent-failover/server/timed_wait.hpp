#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>

namespace understudy::server {

// A worker waits here for something that other threads bring about: they call notify() after every change.
class timed_wait {
 public:
  void notify() {
    std::lock_guard lock(mutex_);
    ++changes_;
    changed_.notify_all();
  }
  // True as soon as `holds()` is, false at the deadline. `holds` may take other locks.
  template <class Predicate>
  bool until(std::chrono::steady_clock::time_point deadline, const Predicate& holds) {
    for (;;) {
      std::unique_lock lock(mutex_);
      const auto seen = changes_;
      lock.unlock();
      if (holds()) return true;
      lock.lock();
      if (!changed_.wait_until(lock, deadline, [&] { return changes_ != seen; })) {
        lock.unlock();
        return holds();
      }
    }
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  unsigned long changes_ = 0;
};

}  // namespace understudy::server
