#include "agent-failover/replica/tree/file_sink_runner.hpp"

#include <thread>
#include <utility>

#include "agent-failover/replica/tree/file_sink_session.hpp"
#include "common/channel/wire.hpp"
#include "common/status/status_macros.hpp"

namespace understudy::files {
namespace {

constexpr std::size_t mailbox_bytes = 2 << 20;       // received and not applied
constexpr std::chrono::seconds longest_silence{15};  // the source says something every second
constexpr std::chrono::milliseconds farewell{1000};  // for the other end to close after StreamEnd

}  // namespace

file_sink_runner::file_sink_runner(tree_sink& sink, file_sink_stream& stream,
                                   std::function<void(const files_progress&)> on_progress)
    : sink_(sink), stream_(stream), board_(std::move(on_progress)) {}

void file_sink_runner::stop() {
  mailbox_.stop();
  stream_.close();
}

absl::Status file_sink_runner::work() {
  bool open = true;
  file_sink_session session(
      sink_, [&](v1::FilesSinkMessage&& message) { open = open && stream_.send(std::move(message)); });
  UNDERSTUDY_RETURN_IF_ERROR(session.start());
  while (open) {
    auto taken = mailbox_.take(std::chrono::steady_clock::now() + longest_silence);
    if (taken.hold) session.hold(*taken.hold);
    if (taken.drain) session.drain();
    const bool silent =
        taken.messages.empty() && !taken.hold && !taken.drain && !taken.ended && !taken.stopped;
    for (v1::FilesSourceMessage& message : taken.messages) {
      UNDERSTUDY_RETURN_IF_ERROR(session.receive(std::move(message)));
    }
    UNDERSTUDY_RETURN_IF_ERROR(session.flush());
    board_.post(session.progress());
    if (taken.stopped) {
      return session.progress().now == files_progress::phase::drained ? absl::OkStatus()
                                                                      : absl::CancelledError("stopped");
    }
    if (taken.ended) break;
    if (silent) return absl::UnavailableError("nothing was heard from the source for 15 s");
  }
  return absl::OkStatus();
}

absl::Status file_sink_runner::run() {
  std::thread receiver([this] { mailbox_.receive_all(stream_, mailbox_bytes); });
  const absl::Status status = work();
  mailbox_.close();
  if (!status.ok() && !absl::IsCancelled(status)) {
    v1::FilesSinkMessage last;
    channel::to_wire(status, last.mutable_end());
    stream_.send(std::move(last));
  }
  if (!mailbox_.wait_ended(status.ok() || absl::IsCancelled(status) ? std::chrono::milliseconds{0}
                                                                    : farewell)) {
    stream_.close();
  }
  receiver.join();
  board_.post(board_.latest(), true);
  return status.ok() && !mailbox_.is_stopped() ? stream_.status() : status;
}

}  // namespace understudy::files
