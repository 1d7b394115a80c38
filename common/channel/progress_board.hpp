#pragma once

#include <chrono>
#include <functional>
#include <mutex>

#include "common/channel/database_progress.hpp"

namespace understudy::channel {

// The latest progress, for readers on any thread, and reports of it at a bounded rate: a change of phase at
// once, anything else at most every INTERVAL. post() and flush() belong to the session's thread.
class progress_board {
 public:
  explicit progress_board(std::function<void(const database_progress&)> listener)
      : listener_{std::move(listener)} {}

  void post(const database_progress& progress, std::chrono::steady_clock::time_point now) {
    {
      const std::lock_guard lock{mutex_};
      const bool same = progress.now == latest_.now && progress.durable == latest_.durable &&
                        progress.done_bytes == latest_.done_bytes && progress.restarts == latest_.restarts &&
                        progress.reason == latest_.reason && progress.current_at == latest_.current_at;
      pending_ = pending_ || !same;
      latest_ = progress;
    }
    if (pending_ && (latest_.now != reported_ || now >= reported_at_ + INTERVAL)) report(now);
  }
  // Reports what post() held back.
  void flush(std::chrono::steady_clock::time_point now) {
    if (pending_) report(now);
  }
  // When something held back should be posted again; far away when nothing is.
  std::chrono::steady_clock::time_point due() const {
    return pending_ ? reported_at_ + INTERVAL : std::chrono::steady_clock::time_point::max();
  }
  database_progress latest() const {
    const std::lock_guard lock{mutex_};
    return latest_;
  }

 private:
  static constexpr std::chrono::milliseconds INTERVAL{
      50};  // what a person can follow, and an actor does not feel

  void report(std::chrono::steady_clock::time_point now) {
    pending_ = false;
    reported_ = latest_.now;
    reported_at_ = now;
    if (listener_) listener_(latest_);
  }

  mutable std::mutex mutex_;
  database_progress latest_;
  std::function<void(const database_progress&)> listener_;
  bool pending_ = true;
  database_progress::phase reported_ = database_progress::phase::waiting;
  std::chrono::steady_clock::time_point reported_at_;
};

}  // namespace understudy::channel
