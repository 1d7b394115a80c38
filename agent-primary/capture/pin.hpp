#pragma once

// The adaptive pin: a shared lock on the last read-mark byte of the wal-index, which keeps writers from
// starting the log over. Commits and checkpoints go on under it; the application's own RESTART and TRUNCATE
// checkpoints return busy, and once the log is long every commit checkpoints, so it is held for milliseconds
// only.

#include <chrono>

#include "agent-primary/capture/capture_metrics.hpp"
#include "agent-primary/capture/file_locks.hpp"
#include "common/sqlite/wal_format.hpp"

namespace understudy::capture {

class read_pin {
 public:
  // Fails (returns false) when a writer is just starting the log over; that is no error.
  read_pin(int shm, capture_metrics& metrics)
      : shm_(shm), metrics_(metrics), since_(std::chrono::steady_clock::now()) {
    held_ = set_lock(shm_, F_RDLCK, sqlite::shm_lock_read4, 1);
    if (held_) ++metrics_.pins;
  }
  ~read_pin() {
    if (!held_) return;
    set_lock(shm_, F_UNLCK, sqlite::shm_lock_read4, 1);
    if (const auto time = held_for(); time > metrics_.longest_pin) metrics_.longest_pin = time;
  }
  read_pin(const read_pin&) = delete;
  read_pin& operator=(const read_pin&) = delete;

  bool held() const { return held_; }
  std::chrono::microseconds held_for() const {
    return std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::steady_clock::now() - since_);
  }

 private:
  int shm_;
  capture_metrics& metrics_;
  std::chrono::steady_clock::time_point since_;
  bool held_ = false;
};

}  // namespace understudy::capture
