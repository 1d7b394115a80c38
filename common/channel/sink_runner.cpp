#include "common/channel/sink_runner.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>

#include "common/channel/wire.hpp"
#include "common/status/status_macros.hpp"

namespace understudy::channel {
namespace {

constexpr std::size_t QUEUE_BYTES = 8u
                                    << 20;  // received and not applied: enough to work through one slow sync
constexpr std::size_t QUEUE_MESSAGES = 4096;         // of small transactions, as many as pay for one sync
constexpr std::chrono::milliseconds FAREWELL{1000};  // for the other end to close after StreamEnd

}  // namespace

struct sink_runner::queue {
  std::mutex mutex;
  std::condition_variable filled;
  std::condition_variable emptied;
  std::deque<v1::SourceMessage> messages;
  std::size_t bytes = 0;
  std::optional<std::chrono::steady_clock::time_point> listening_since;  // while nothing arrives
  bool ended = false;                                                    // nothing more will be received
  bool stopped = false;
  bool drain = false;

  bool full() const { return bytes >= QUEUE_BYTES || messages.size() >= QUEUE_MESSAGES; }
};

sink_runner::sink_runner(database_sink& sink, sink_stream& stream,
                         std::function<void(const database_progress&)> on_progress,
                         sink_runner_options options)
    : stream_{stream},
      options_{options},
      queue_{std::make_unique<queue>()},
      board_{std::move(on_progress)},
      session_{sink} {}

sink_runner::~sink_runner() = default;

void sink_runner::drain() {
  const std::lock_guard lock{queue_->mutex};
  queue_->drain = true;
  queue_->filled.notify_all();
}

void sink_runner::stop() {
  {
    const std::lock_guard lock{queue_->mutex};
    queue_->stopped = true;
    queue_->filled.notify_all();
    queue_->emptied.notify_all();
  }
  stream_.close();
}

void sink_runner::receive_all() {
  while (true) {
    {
      std::unique_lock lock{queue_->mutex};
      queue_->emptied.wait(lock, [this] { return !queue_->full() || queue_->stopped || queue_->ended; });
      if (queue_->stopped || queue_->ended) break;
      queue_->listening_since = std::chrono::steady_clock::now();
    }
    v1::SourceMessage message;
    const bool received = stream_.receive(message);
    const std::lock_guard lock{queue_->mutex};
    queue_->listening_since.reset();
    if (!received) break;
    queue_->bytes += message.ByteSizeLong();
    queue_->messages.push_back(std::move(message));
    queue_->filled.notify_all();
  }
  const std::lock_guard lock{queue_->mutex};
  queue_->ended = true;
  queue_->filled.notify_all();
}

bool sink_runner::send_all() {
  while (auto message = session_.next()) {
    if (!stream_.send(*std::move(message))) return false;
  }
  return true;
}

absl::Status sink_runner::work() {
  UNDERSTUDY_RETURN_IF_ERROR(session_.start(now()));
  bool drain_said = false;
  while (true) {
    if (!send_all()) return absl::OkStatus();
    heap_.look(session_.progress());
    std::deque<v1::SourceMessage> messages;
    bool over = false;
    {
      std::unique_lock lock{queue_->mutex};
      auto until = std::chrono::steady_clock::now() + options_.silence;
      if (queue_->listening_since) until = *queue_->listening_since + options_.silence;
      queue_->filled.wait_until(lock, std::min(until, board_.due()), [&] {
        return !queue_->messages.empty() || queue_->ended || queue_->stopped ||
               (queue_->drain && !drain_said);
      });
      messages.swap(queue_->messages);
      queue_->bytes = 0;
      queue_->emptied.notify_all();
      over = queue_->ended || queue_->stopped;
      const bool silent = queue_->listening_since && messages.empty() &&
                          std::chrono::steady_clock::now() >= *queue_->listening_since + options_.silence;
      if (silent && !over) {
        return absl::UnavailableError(
            fmt::format("nothing heard from the source for {} ms", options_.silence.count()));
      }
      if (queue_->drain && !std::exchange(drain_said, true)) session_.drain();
    }
    for (const v1::SourceMessage& message : messages) {
      UNDERSTUDY_RETURN_IF_ERROR(session_.receive(message, now()));
      if (!over) send_all();
    }
    if (session_.wants_commit()) UNDERSTUDY_RETURN_IF_ERROR(session_.commit(now()));
    board_.post(session_.progress(), std::chrono::steady_clock::now());
    if (over) {
      send_all();
      return absl::OkStatus();
    }
  }
}

absl::Status sink_runner::run() {
  std::thread receiver{[this] { receive_all(); }};
  absl::Status status = work();
  if (const absl::Status finished = session_.finish(now()); status.ok()) status = finished;
  if (!status.ok() && !session_.told_to_end()) {
    // Told in a message, because closing a call from the server's side would lose the reason.
    v1::SinkMessage farewell;
    to_wire(status, farewell.mutable_end());
    stream_.send(farewell);
    const auto until = std::chrono::steady_clock::now() + FAREWELL;
    std::unique_lock lock{queue_->mutex};
    while (!queue_->ended && !queue_->stopped && std::chrono::steady_clock::now() < until) {
      queue_->messages.clear();  // of no interest any more, but in the way of the end
      queue_->bytes = 0;
      queue_->emptied.notify_all();
      queue_->filled.wait_until(lock, until);
    }
  }
  bool ended = false;
  bool stopped = false;
  {
    const std::lock_guard lock{queue_->mutex};
    ended = std::exchange(queue_->ended, true);
    stopped = queue_->stopped;
    queue_->emptied.notify_all();
  }
  if (!ended) stream_.close();
  receiver.join();
  board_.post(session_.progress(), std::chrono::steady_clock::now());
  board_.flush(std::chrono::steady_clock::now());
  if (!status.ok()) return status;
  if (stopped) return session_.drained() ? absl::OkStatus() : absl::CancelledError("stopped");
  return stream_.status();
}

}  // namespace understudy::channel
