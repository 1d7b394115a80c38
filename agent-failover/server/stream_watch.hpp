#pragma once

// What a stream says of itself, for the worker that waits for it. Threads: any.

#include <fmt/core.h>

#include <chrono>
#include <concepts>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "agent-failover/server/timed_wait.hpp"
#include "common/status/status_text.hpp"

namespace understudy::server {

// `Progress`: database_progress or files_progress.
template <class Progress>
class stream_watch {
 public:
  using phase = typename Progress::phase;

  // `name`: of what is streamed, for people. `on_change` after each change, on the stream's thread.
  stream_watch(std::string name, std::function<void()> on_change)
      : name_(std::move(name)), on_change_(std::move(on_change)) {}

  // Of a stream's callbacks; the watch outlives the stream.
  template <class Callbacks>
  Callbacks callbacks() {
    Callbacks made;
    made.on_progress = [this](const Progress& now) { change([&] { progress_ = now; }); };
    made.on_end = [this](const absl::Status& status) { change([&] { end_ = status; }); };
    return made;
  }
  void touched() {
    change([] {});
  }

  // Until the stream is in that phase, or in `drained`, which is all there is.
  absl::Status wait_for(phase wanted, std::chrono::steady_clock::time_point deadline) {
    return wait_for([wanted](const Progress& p) { return p.now == wanted || p.now == phase::drained; },
                    deadline);
  }
  // Until `holds(progress)`. The stream's end is an error here.
  template <class Predicate>
  requires std::predicate<Predicate, const Progress&> absl::Status wait_for(
      const Predicate& holds, std::chrono::steady_clock::time_point deadline) {
    const bool arrived = changed_.until(deadline, [&] {
      std::lock_guard lock(mutex_);
      return end_.has_value() || holds(progress_);
    });
    std::lock_guard lock(mutex_);
    if (end_) return named(end_->ok() ? absl::UnavailableError("the stream ended") : *end_);
    if (arrived) return absl::OkStatus();
    return absl::DeadlineExceededError(
        fmt::format("{} is still {}: {}", name_, to_string(progress_.now), progress_.reason));
  }
  // True as soon as `holds()` is, which is asked after each change; false at the deadline.
  template <class Predicate>
  bool wait_until(std::chrono::steady_clock::time_point deadline, const Predicate& holds) {
    return changed_.until(deadline, holds);
  }

  Progress progress() const {
    std::lock_guard lock(mutex_);
    return progress_;
  }
  const std::string& name() const { return name_; }
  // The status with the stream's name before its text; its details stay.
  absl::Status named(const absl::Status& status) const {
    absl::Status with_name(status.code(), fmt::format("{}: {}", name_, message_of(status)));
    status.ForEachPayload([&](auto url, const auto& payload) { with_name.SetPayload(url, payload); });
    return with_name;
  }

 private:
  template <class Change>
  void change(const Change& apply) {
    {
      std::lock_guard lock(mutex_);
      apply();
    }
    changed_.notify();
    on_change_();
  }

  const std::string name_;
  const std::function<void()> on_change_;
  timed_wait changed_;
  mutable std::mutex mutex_;
  Progress progress_;
  std::optional<absl::Status> end_;
};

}  // namespace understudy::server
