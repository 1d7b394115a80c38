#include "agent-failover/ctl/follow.hpp"

#include <fmt/core.h>

#include "agent-failover/ctl/interrupt.hpp"
#include "common/status/status_macros.hpp"
#include "common/status/status_text.hpp"

namespace understudy::ctl {

namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr milliseconds TICK{1000};       // ms; ages on a screen count seconds
constexpr milliseconds RETRY{1000};      // ms between two attempts to connect again
constexpr milliseconds SILENCE{45'000};  // ms; three heartbeats of 15 s
constexpr milliseconds BURST_GAP{20};    // ms of quiet after which a burst is over

class watcher {
 public:
  watcher(session& s, v1::WatchRequest request, const watch_handlers& handlers)
      : s_(s), request_(std::move(request)), handlers_(handlers), begun_(steady_clock::now()) {}

  absl::Status run() {
    while (true) {
      UNDERSTUDY_ASSIGN_OR_RETURN(auto stream, s_.open(request_));
      auto status = read(*stream);
      if (interrupted()) return absl::CancelledError("interrupted");
      if (status.ok()) status = absl::UnavailableError("the failover host ended it");
      if (status.code() != absl::StatusCode::kUnavailable || !was_connected_) return status;
      if (!said_lost_) {
        s_.screen().err(fmt::format("connection lost ({}); trying again\n", message_of(status)));
        said_lost_ = true;
      }
      UNDERSTUDY_RETURN_IF_ERROR(handlers_.tick(false));
      UNDERSTUDY_RETURN_IF_ERROR(in_time());
      UNDERSTUDY_RETURN_IF_ERROR(session::pause(RETRY));
    }
  }

 private:
  absl::Status in_time() const {
    if (!s_.timeout() || steady_clock::now() - begun_ < *s_.timeout()) return absl::OkStatus();
    return absl::DeadlineExceededError("--timeout reached");
  }

  // How long the next message may take before there is something else to do.
  milliseconds patience(bool drawn) const {
    auto period = drawn ? TICK : BURST_GAP;
    if (s_.timeout()) {
      const auto left =
          std::chrono::duration_cast<milliseconds>(begun_ + *s_.timeout() - steady_clock::now());
      period = std::max(milliseconds{1}, std::min(period, left));
    }
    return period;
  }

  absl::Status read(rpc_stream& stream) {
    auto heard = steady_clock::now();
    bool drawn = true;
    while (true) {
      v1::WatchResponse update;
      switch (stream.next(&update, patience(drawn))) {
        case rpc_stream::item::message:
          heard = steady_clock::now();
          UNDERSTUDY_RETURN_IF_ERROR(take(update));
          drawn = false;
          break;
        case rpc_stream::item::idle:
          if (interrupted()) return absl::CancelledError("interrupted");
          UNDERSTUDY_RETURN_IF_ERROR(handlers_.tick(true));
          drawn = true;
          if (steady_clock::now() - heard >= SILENCE) return absl::UnavailableError("silence");
          break;
        case rpc_stream::item::end:
          return stream.status();
      }
      UNDERSTUDY_RETURN_IF_ERROR(in_time());
    }
  }

  absl::Status take(const v1::WatchResponse& update) {
    was_connected_ = true;
    if (said_lost_) s_.screen().err("connected again\n");
    said_lost_ = false;
    if (update.has_event()) request_.set_after_event(update.event().id());
    if (update.has_log()) request_.set_after_log(update.log().id());
    return handlers_.update(update);
  }

  session& s_;
  v1::WatchRequest request_;
  const watch_handlers& handlers_;
  steady_clock::time_point begun_;
  bool was_connected_ = false;
  bool said_lost_ = false;
};

}  // namespace

absl::Status watch(session& s, v1::WatchRequest request, const watch_handlers& handlers) {
  return watcher{s, std::move(request), handlers}.run();
}

}  // namespace understudy::ctl
