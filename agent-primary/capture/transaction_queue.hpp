#pragma once

// What lies between the capture's thread and one subscriber: transactions in commit order, bounded in bytes.

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>

#include "common/channel/database_source.hpp"

namespace understudy::capture {

// Thread-safe. After a gap nothing that waited is delivered; after `closed` it is, then the end for ever.
class transaction_queue {
 public:
  explicit transaction_queue(std::uint64_t limit_bytes) : limit_bytes_(limit_bytes) {}

  // False when the queue ended; a transaction that does not fit ends it with a gap.
  bool push(channel::captured_transaction transaction);
  void end(channel::source_event::kind how, std::string reason);
  // Calls the ready callback if next() would not wait. Not to be called under a lock of the caller's.
  void notify();

  channel::source_event next(std::chrono::steady_clock::time_point deadline);
  void set_ready_callback(std::function<void()> callback);
  std::uint64_t waiting_bytes() const;

 private:
  bool ready() const { return !queue_.empty() || ended_; }

  const std::uint64_t limit_bytes_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<channel::captured_transaction> queue_;
  std::uint64_t queued_bytes_ = 0;
  bool ended_ = false;
  channel::source_event end_;
  std::mutex callback_mutex_;  // never held together with mutex_, so a callback may call next()
  std::function<void()> callback_;
};

// The subscriber's handle; `leave` takes the queue off the capture's list.
std::unique_ptr<channel::source_subscription> make_subscription(std::shared_ptr<transaction_queue> queue,
                                                                channel::source_state base,
                                                                std::function<void()> leave);

}  // namespace understudy::capture
