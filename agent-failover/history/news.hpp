#pragma once

// Wakes one who waits for several histories at once. Thread-safe.

#include <chrono>
#include <condition_variable>
#include <mutex>

namespace understudy::history {

class news {
 public:
  void tell() {
    {
      const std::lock_guard lock(mutex_);
      told_ = true;
    }
    changed_.notify_one();
  }
  // Returns once told since it last returned, at the latest after `longest`.
  void wait(std::chrono::milliseconds longest) {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, longest, [this] { return told_; });
    told_ = false;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool told_ = false;
};

}  // namespace understudy::history
