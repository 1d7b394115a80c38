#include "agent-failover/server/stream_lane.hpp"

#include <google/protobuf/util/time_util.h>
#include <grpcpp/channel.h>

#include <algorithm>

#include "common/log/log.hpp"
#include "common/status/status_text.hpp"

namespace understudy::server {
namespace {

using google::protobuf::util::TimeUtil;
using std::chrono::milliseconds;
using std::chrono::steady_clock;
using std::chrono::system_clock;

constexpr milliseconds first_backoff{200};     // a link that flickers is met again at once
constexpr milliseconds longest_backoff{5000};  // a broken copy or agent is not hammered

}  // namespace

void stream_lane::keep(const std::shared_ptr<grpc::Channel>& channel) {
  if (!channel) return stop();
  if (!running() && may_start(steady_clock::now())) start(channel);
}

void stream_lane::start(const std::shared_ptr<grpc::Channel>& channel) {
  stream_.reset();
  if (absl::Status opened = ready(); !opened.ok()) {
    std::lock_guard lock(mutex_);
    if (last_end_ != opened)
      log::error(server_, "{}: the copy cannot be opened: {}", name_, message_of(opened));
    failed(opened);
    return;
  }
  {
    std::lock_guard lock(mutex_);
    running_ = true;
    drained_ = false;
    begun();
  }
  stream_ = connect(channel);
}

void stream_lane::stop() {
  if (!stream_) return;
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  stream_->stop();
  stream_.reset();
  std::lock_guard lock(mutex_);
  running_ = false;
  stopping_ = false;
}

void stream_lane::drain() {
  if (stream_) stream_->drain();
}

bool stream_lane::drained() const {
  std::lock_guard lock(mutex_);
  return drained_;
}

bool stream_lane::running() const {
  std::lock_guard lock(mutex_);
  return running_;
}

absl::Status stream_lane::last_end() const {
  std::lock_guard lock(mutex_);
  return last_end_;
}

bool stream_lane::may_start(steady_clock::time_point now) const {
  std::lock_guard lock(mutex_);
  if (failures_ == 0 || at_once(last_end_)) return true;
  return now >= failed_at_ + std::min(longest_backoff, first_backoff * (1 << std::min(failures_ - 1, 6)));
}

void stream_lane::ended(const absl::Status& status) {
  {
    std::lock_guard lock(mutex_);
    running_ = false;
    not_in_step_since_ = steady_clock::now();
    if (!stopping_) failed(status);
  }
  on_change_();
}

void stream_lane::failed(const absl::Status& status) {
  last_end_ = status;
  failed_at_ = steady_clock::now();
  ++failures_;
}

void stream_lane::describe_idle(v1::CopyStatus& status, bool complete) const {
  status.set_phase(complete ? v1::COPY_PHASE_CUT : v1::COPY_PHASE_UNPROTECTED);
  if (!last_end_.ok()) status.set_reason(std::string(message_of(last_end_)));
  set_behind(status, not_in_step_since_);
}

void stream_lane::set_behind(v1::CopyStatus& status, steady_clock::time_point since) {
  set_behind(status, system_clock::now() -
                         std::chrono::duration_cast<system_clock::duration>(steady_clock::now() - since));
}

void stream_lane::set_behind(v1::CopyStatus& status, system_clock::time_point since) {
  const auto age = std::max(system_clock::now() - since, system_clock::duration{});
  *status.mutable_behind() =
      TimeUtil::MillisecondsToDuration(std::chrono::duration_cast<milliseconds>(age).count());
  *status.mutable_behind_since() = TimeUtil::MillisecondsToTimestamp(
      std::chrono::duration_cast<milliseconds>(since.time_since_epoch()).count());
}

}  // namespace understudy::server
