#include "agent-primary/capture/transaction_queue.hpp"

#include <fmt/core.h>

#include <utility>

namespace understudy::capture {
namespace {

std::uint64_t cost_of(const channel::captured_transaction& transaction) {
  std::uint64_t bytes = sizeof transaction;
  for (const auto& page : transaction.pages) bytes += page.bytes.size() + sizeof page;
  return bytes;
}

class queue_subscription final : public channel::source_subscription {
 public:
  queue_subscription(std::shared_ptr<transaction_queue> queue, channel::source_state base,
                     std::function<void()> leave)
      : queue_(std::move(queue)), base_(std::move(base)), leave_(std::move(leave)) {}
  ~queue_subscription() override {
    leave_();
    queue_->set_ready_callback({});
  }

  const channel::source_state& base() const override { return base_; }
  channel::source_event next(std::chrono::steady_clock::time_point deadline) override {
    return queue_->next(deadline);
  }
  std::uint64_t waiting_bytes() const override { return queue_->waiting_bytes(); }
  void set_ready_callback(std::function<void()> callback) override {
    queue_->set_ready_callback(std::move(callback));
  }

 private:
  std::shared_ptr<transaction_queue> queue_;
  channel::source_state base_;
  std::function<void()> leave_;
};

}  // namespace

bool transaction_queue::push(channel::captured_transaction transaction) {
  const std::uint64_t cost = cost_of(transaction);
  std::uint64_t waiting = 0;
  {
    std::lock_guard lock(mutex_);
    if (ended_) return false;
    if (queued_bytes_ + cost <= limit_bytes_) {
      queued_bytes_ += cost;
      queue_.push_back(std::move(transaction));
      changed_.notify_one();
      return true;
    }
    waiting = queued_bytes_ + cost;
  }
  end(channel::source_event::kind::gap,
      fmt::format("the receiver is too slow: {} MiB of transactions wait, the limit is {} MiB", waiting >> 20,
                  limit_bytes_ >> 20));
  return false;
}

void transaction_queue::end(channel::source_event::kind how, std::string reason) {
  std::lock_guard lock(mutex_);
  if (ended_) return;
  ended_ = true;
  end_.what = how;
  end_.reason = std::move(reason);
  if (how == channel::source_event::kind::gap) {
    // The subscriber heals from the hashes; what waits would only delay it and hold memory.
    queue_.clear();
    queued_bytes_ = 0;
  }
  changed_.notify_one();
}

void transaction_queue::notify() {
  {
    std::lock_guard lock(mutex_);
    if (!ready()) return;
  }
  std::lock_guard lock(callback_mutex_);
  if (callback_) callback_();
}

channel::source_event transaction_queue::next(std::chrono::steady_clock::time_point deadline) {
  std::unique_lock lock(mutex_);
  changed_.wait_until(lock, deadline, [this] { return ready(); });
  channel::source_event event;
  if (!queue_.empty()) {
    event.what = channel::source_event::kind::transaction;
    event.transaction = std::move(queue_.front());
    queue_.pop_front();
    queued_bytes_ -= cost_of(event.transaction);
  } else if (ended_) {
    event = end_;
  }
  return event;
}

std::uint64_t transaction_queue::waiting_bytes() const {
  std::lock_guard lock(mutex_);
  return queued_bytes_;
}

void transaction_queue::set_ready_callback(std::function<void()> callback) {
  {
    std::lock_guard lock(callback_mutex_);
    callback_ = std::move(callback);
  }
  notify();
}

std::unique_ptr<channel::source_subscription> make_subscription(std::shared_ptr<transaction_queue> queue,
                                                                channel::source_state base,
                                                                std::function<void()> leave) {
  return std::make_unique<queue_subscription>(std::move(queue), std::move(base), std::move(leave));
}

}  // namespace understudy::capture
