#pragma once

// What a stream's reading thread leaves for the thread that works, and what other threads ask of it.

#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <optional>
#include <utility>

#include "common/channel/message_stream.hpp"
#include "common/files/files_progress.hpp"

namespace understudy::files {

template <class In>
class stream_mailbox {
 public:
  // Puts what arrives into the box until the stream ends; while `most_bytes` wait, the other end is not read,
  // and so held up.
  template <class Out>
  void receive_all(channel::message_stream<Out, In>& stream, std::size_t most_bytes) {
    In message;
    while (stream.receive(message)) {
      const std::size_t size = message.ByteSizeLong();
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [&] { return bytes_ < most_bytes || closed_; });
      bytes_ += size;
      messages_.push_back(std::move(message));
      message = {};
      changed_.notify_all();
    }
    const std::lock_guard lock(mutex_);
    ended_ = true;
    changed_.notify_all();
  }

  struct content {
    std::deque<In> messages;
    std::optional<bool> hold;
    bool drain = false;
    bool ended = false;    // nothing more will be received
    bool stopped = false;  // by our own side
  };
  // Waits for something.
  content take(std::chrono::steady_clock::time_point until) {
    std::unique_lock lock(mutex_);
    changed_.wait_until(
        lock, until, [&] { return woken_ || ended_ || stopped_ || drain_ || hold_ || !messages_.empty(); });
    content taken{.messages = std::exchange(messages_, {}),
                  .hold = std::exchange(hold_, std::nullopt),
                  .drain = std::exchange(drain_, false),
                  .ended = ended_,
                  .stopped = stopped_};
    woken_ = false;
    bytes_ = 0;
    changed_.notify_all();
    return taken;
  }
  bool has_messages() const {
    const std::lock_guard lock(mutex_);
    return !messages_.empty();
  }

  void wake() { set(woken_); }
  void drain() { set(drain_); }
  void stop() { set(stopped_); }
  // The worker has gone: what still arrives is dropped.
  void close() { set(closed_); }
  void hold(bool held) {
    const std::lock_guard lock(mutex_);
    hold_ = held;
    changed_.notify_all();
  }
  // Until the other end has closed, or the time is up.
  bool wait_ended(std::chrono::milliseconds at_most) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, at_most, [&] { return ended_ || stopped_; }) && ended_;
  }
  bool is_stopped() const {
    const std::lock_guard lock(mutex_);
    return stopped_;
  }

 private:
  void set(bool& flag) {
    const std::lock_guard lock(mutex_);
    flag = true;
    changed_.notify_all();
  }

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<In> messages_;
  std::size_t bytes_ = 0;
  std::optional<bool> hold_;
  bool woken_ = false;
  bool drain_ = false;
  bool ended_ = false;
  bool stopped_ = false;
  bool closed_ = false;
};

// The latest progress, for any thread, and reports of it at a bounded rate. post() belongs to one thread.
class files_progress_board {
 public:
  explicit files_progress_board(std::function<void(const files_progress&)> listener)
      : listener_(std::move(listener)) {}

  void post(const files_progress& progress, bool now_or_never = false) {
    const auto now = std::chrono::steady_clock::now();
    const bool changed = progress.now != reported_ || progress.judged != reported_verdict_ || !reported_any_;
    {
      const std::lock_guard lock(mutex_);
      latest_ = progress;
    }
    if (!changed && !now_or_never && now - reported_at_ < interval) return;
    reported_any_ = true;
    reported_ = progress.now;
    reported_verdict_ = progress.judged;
    reported_at_ = now;
    if (listener_) listener_(progress);
  }
  files_progress latest() const {
    const std::lock_guard lock(mutex_);
    return latest_;
  }

 private:
  static constexpr std::chrono::milliseconds interval{
      50};  // what a person can follow, and an actor does not feel
  mutable std::mutex mutex_;
  files_progress latest_;
  std::function<void(const files_progress&)> listener_;
  files_progress::phase reported_ = files_progress::phase::comparing;
  files_progress::verdict reported_verdict_ = files_progress::verdict::none;
  bool reported_any_ = false;
  std::chrono::steady_clock::time_point reported_at_;
};

}  // namespace understudy::files
