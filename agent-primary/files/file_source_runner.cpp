#include "agent-primary/files/file_source_runner.hpp"

#include <thread>
#include <utility>

#include "agent-primary/files/file_source_session.hpp"
#include "common/channel/wire.hpp"
#include "common/status/status_macros.hpp"

namespace understudy::files {
namespace {

constexpr std::size_t mailbox_bytes = 64 << 20;      // a listing arrives faster than it is taken in
constexpr std::chrono::milliseconds farewell{1000};  // for the other end to close after StreamEnd

}  // namespace

file_source_runner::file_source_runner(std::shared_ptr<file_source> source, file_source_stream& stream,
                                       std::function<void(const files_progress&)> on_progress)
    : source_(std::move(source)),
      stream_(stream),
      mailbox_(std::make_shared<stream_mailbox<v1::FilesSinkMessage>>()),
      board_(std::move(on_progress)) {}

void file_source_runner::stop() {
  mailbox_->stop();
  stream_.close();
}

absl::Status file_source_runner::work() {
  file_source_session session(source_, [mailbox = mailbox_] { mailbox->wake(); });
  auto until = std::chrono::steady_clock::time_point::min();
  for (;;) {
    auto taken = mailbox_->take(until);
    if (taken.stopped) {
      return session.progress().now == files_progress::phase::drained ? absl::OkStatus()
                                                                      : absl::CancelledError("stopped");
    }
    if (taken.hold) {
      v1::FilesSinkMessage request;
      request.set_hold(*taken.hold);
      taken.messages.push_back(std::move(request));
    }
    if (taken.drain) {
      v1::FilesSinkMessage request;
      request.set_drain(true);
      taken.messages.push_back(std::move(request));
    }
    for (v1::FilesSinkMessage& message : taken.messages) {
      UNDERSTUDY_RETURN_IF_ERROR(session.receive(std::move(message)));
    }
    if (taken.ended) return absl::OkStatus();
    UNDERSTUDY_ASSIGN_OR_RETURN(auto message, session.next());
    board_.post(session.progress());
    const bool more = message.has_value();
    if (more && !stream_.send(*std::move(message))) return absl::OkStatus();
    until = more ? std::chrono::steady_clock::time_point::min() : session.wait_until();
  }
}

absl::Status file_source_runner::run() {
  std::thread receiver([this] { mailbox_->receive_all(stream_, mailbox_bytes); });
  const absl::Status status = work();
  mailbox_->close();
  if (!status.ok() && !absl::IsCancelled(status)) {
    // Told in a message: closing a call from the server's side would lose the reason.
    v1::FilesSourceMessage last;
    channel::to_wire(status, last.mutable_end());
    stream_.send(std::move(last));
  }
  if (!mailbox_->wait_ended(status.ok() || absl::IsCancelled(status) ? std::chrono::milliseconds{0}
                                                                     : farewell)) {
    stream_.close();
  }
  receiver.join();
  board_.post(board_.latest(), true);
  return status.ok() && !mailbox_->is_stopped() ? stream_.status() : status;
}

}  // namespace understudy::files
