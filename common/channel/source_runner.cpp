#include "common/channel/source_runner.hpp"

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <utility>

#include "common/channel/wire.hpp"
#include "common/status/status_macros.hpp"

namespace understudy::channel {
namespace {

constexpr std::size_t MAILBOX_LIMIT = 64;            // messages; the protocol has fewer than ten under way
constexpr std::chrono::milliseconds FAREWELL{1000};  // for the other end to close after StreamEnd

}  // namespace

struct source_runner::mailbox {
  std::mutex mutex;
  std::condition_variable changed;
  std::deque<v1::SinkMessage> messages;
  bool woken = false;       // the capture has something
  bool collecting = false;  // ... and it may wait until the session's time
  bool overflow = false;    // the other end floods us
  bool ended = false;       // nothing more will be received
  bool stopped = false;
  bool drain = false;

  void wake() {
    const std::lock_guard lock{mutex};
    woken = true;
    if (!collecting) changed.notify_all();
  }
};

source_runner::source_runner(std::shared_ptr<database_source> source, source_stream& stream,
                             std::function<void(const database_progress&)> on_progress)
    : source_{std::move(source)},
      stream_{stream},
      mailbox_{std::make_shared<mailbox>()},
      board_{std::move(on_progress)},
      session_{*source_, {.wake = [box = mailbox_] { box->wake(); }}} {}

source_runner::~source_runner() = default;

void source_runner::drain() {
  const std::lock_guard lock{mailbox_->mutex};
  mailbox_->drain = true;
  mailbox_->changed.notify_all();
}

void source_runner::stop() {
  {
    const std::lock_guard lock{mailbox_->mutex};
    mailbox_->stopped = true;
    mailbox_->changed.notify_all();
  }
  stream_.close();
}

void source_runner::receive_all() {
  v1::SinkMessage message;
  while (stream_.receive(message)) {
    const std::lock_guard lock{mailbox_->mutex};
    auto& messages = mailbox_->messages;
    // Of acknowledgements in a row only the newest says anything, so a slow sender never holds up this
    // thread.
    if (message.has_acknowledgement() && !messages.empty() && messages.back().has_acknowledgement()) {
      messages.back() = std::move(message);
    } else if (messages.size() < MAILBOX_LIMIT) {
      messages.push_back(std::move(message));
    } else {
      mailbox_->overflow = true;
    }
    message.Clear();
    mailbox_->changed.notify_all();
  }
  const std::lock_guard lock{mailbox_->mutex};
  mailbox_->ended = true;
  mailbox_->changed.notify_all();
}

absl::Status source_runner::work() {
  while (true) {
    std::deque<v1::SinkMessage> messages;
    bool ended = false;
    {
      const std::lock_guard lock{mailbox_->mutex};
      if (mailbox_->stopped) return absl::CancelledError("stopped");
      if (mailbox_->overflow)
        return absl::ResourceExhaustedError("the receiver sends more than was asked for");
      messages.swap(mailbox_->messages);
      mailbox_->woken = false;
      ended = mailbox_->ended;
      if (mailbox_->drain) session_.drain();
    }
    const moment at = now();
    for (const v1::SinkMessage& message : messages) UNDERSTUDY_RETURN_IF_ERROR(session_.receive(message, at));
    if (ended) return absl::OkStatus();
    UNDERSTUDY_ASSIGN_OR_RETURN(auto out, session_.next(at));
    const bool sending = out.has_value();
    if (sending) {
      const std::size_t bytes = out->ByteSizeLong();
      const auto before = std::chrono::steady_clock::now();
      if (!stream_.send(*std::move(out))) return absl::OkStatus();
      session_.sent(bytes, std::chrono::duration<double>(std::chrono::steady_clock::now() - before).count());
    }
    // After the sending: who hears of `drained` may adopt at once, and must not overtake the message.
    board_.post(session_.progress(), at.steady);
    if (sending) continue;
    heap_.look(session_.progress());
    std::unique_lock lock{mailbox_->mutex};
    mailbox_->collecting = session_.collecting(at);
    mailbox_->changed.wait_until(lock, std::min(session_.wake_at(), board_.due()), [this] {
      const mailbox& box = *mailbox_;
      return (box.woken && !box.collecting) || box.ended || box.stopped || !box.messages.empty() ||
             (box.drain && !session_.draining());
    });
    mailbox_->collecting = false;
  }
}

absl::Status source_runner::run() {
  std::thread receiver{[this] { receive_all(); }};
  absl::Status status = work();
  if (!status.ok() && !absl::IsCancelled(status) && !session_.told_to_end()) {
    // Told in a message, because closing a call from the server's side would lose the reason.
    v1::SourceMessage farewell;
    to_wire(status, farewell.mutable_end());
    stream_.send(farewell);
    std::unique_lock lock{mailbox_->mutex};
    mailbox_->changed.wait_for(lock, FAREWELL, [this] { return mailbox_->ended || mailbox_->stopped; });
  }
  if (status.ok()) {
    // A send that failed says that the stream is over, not why: closing it before the receiver has heard the
    // end would put CANCELLED in the place of the peer's reason.
    std::unique_lock lock{mailbox_->mutex};
    mailbox_->changed.wait_for(lock, FAREWELL, [this] { return mailbox_->ended || mailbox_->stopped; });
  }
  bool ended = false;
  bool stopped = false;
  {
    const std::lock_guard lock{mailbox_->mutex};
    ended = mailbox_->ended;
    stopped = mailbox_->stopped;
  }
  if (!ended) stream_.close();
  receiver.join();
  board_.post(session_.progress(), std::chrono::steady_clock::now());
  board_.flush(std::chrono::steady_clock::now());
  const bool planned = session_.progress().now == database_progress::phase::drained;
  if (!status.ok() && !stopped) return status;
  if (stopped) return planned ? absl::OkStatus() : absl::CancelledError("stopped");
  return stream_.status();
}

}  // namespace understudy::channel
