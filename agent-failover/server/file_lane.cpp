#include "agent-failover/server/file_lane.hpp"

#include <fmt/core.h>
#include <google/protobuf/util/time_util.h>
#include <grpcpp/channel.h>

#include <algorithm>
#include <utility>

#include "agent-failover/replica/tree/file_tree_sink.hpp"
#include "agent-failover/replica/tree/files_stream.hpp"
#include "common/log/log.hpp"
#include "common/os/file_system.hpp"
#include "common/status/status_macros.hpp"
#include "common/status/status_text.hpp"

namespace understudy::server {
namespace {

using files::files_progress;
using google::protobuf::util::TimeUtil;
using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr milliseconds first_backoff{200};  // as a database's
constexpr milliseconds longest_backoff{5000};
constexpr std::uint64_t bulk_files = 1000;  // a reconcile of less does not show as a bulk copy

}  // namespace

file_lane::file_lane(os::file_system& fs, const v1::ServerSpec& spec, std::uint32_t index,
                     const copy_layout& layout, std::function<void()> on_change)
    : fs_(fs),
      server_(spec.name()),
      selection_(spec.files(static_cast<int>(index))),
      base_(selection_.base()),
      index_(index),
      layout_(layout),
      on_change_(std::move(on_change)) {}

file_lane::~file_lane() {
  stop();
}

absl::Status file_lane::open() {
  if (sink_) return absl::OkStatus();
  files::tree_sink_options options;
  options.tree = layout_.place_of(base_);
  options.beside = layout_.directory();
  options.name = fmt::format("files-{}", index_);
  options.what = files::from_message(selection_);
  UNDERSTUDY_ASSIGN_OR_RETURN(sink_, files::file_tree_sink::open(fs_, std::move(options)));
  // A copy that was in step remembers it.
  std::lock_guard lock(mutex_);
  complete_ = complete_ || sink_->memory().in_step_until != 0;
  return absl::OkStatus();
}

void file_lane::start(const std::shared_ptr<grpc::Channel>& channel) {
  if (running()) return;
  stream_.reset();
  if (absl::Status opened = open(); !opened.ok()) {
    std::lock_guard lock(mutex_);
    if (last_end_ != opened)
      log::error(server_, "{}: the copy cannot be opened: {}", base_, message_of(opened));
    last_end_ = opened;
    failed_at_ = steady_clock::now();
    ++failures_;
    return;
  }
  {
    std::lock_guard lock(mutex_);
    running_ = true;
    durable_before_ += progress_.durable;
    progress_ = {};
  }
  stream_ = files::start_files_replication(channel, index_, sink_,
                                           {.on_progress =
                                                [this](const files_progress& progress) {
                                                  {
                                                    std::lock_guard lock(mutex_);
                                                    if (progress.now == files_progress::phase::streaming) {
                                                      if (progress_.now != progress.now)
                                                        log::info(server_, "{} is in step, {} entries", base_,
                                                                  progress.entries);
                                                      complete_ = true;
                                                      failures_ = 0;
                                                    }
                                                    progress_ = progress;
                                                  }
                                                  on_change_();
                                                },
                                            .on_end =
                                                [this](const absl::Status& status) {
                                                  {
                                                    std::lock_guard lock(mutex_);
                                                    running_ = false;
                                                    last_end_ = status;
                                                    failed_at_ = steady_clock::now();
                                                    ++failures_;
                                                    not_in_step_since_ = failed_at_;
                                                  }
                                                  on_change_();
                                                }});
}

void file_lane::stop() {
  if (!stream_) return;
  stream_->stop();
  stream_.reset();
  std::lock_guard lock(mutex_);
  running_ = false;
}

bool file_lane::running() const {
  std::lock_guard lock(mutex_);
  return running_;
}

bool file_lane::may_start(steady_clock::time_point now) const {
  std::lock_guard lock(mutex_);
  if (failures_ == 0 || absl::IsAborted(last_end_)) return true;
  return now >= failed_at_ + std::min(longest_backoff, first_backoff * (1 << std::min(failures_ - 1, 6)));
}

void file_lane::drain() {
  if (stream_) stream_->drain();
}

bool file_lane::drained() const {
  std::lock_guard lock(mutex_);
  return progress_.now == files_progress::phase::drained;
}

absl::Status file_lane::release() {
  stop();
  UNDERSTUDY_RETURN_IF_ERROR(open());
  return sink_->forget();
}

void file_lane::close() {
  stop();
  sink_.reset();
  std::lock_guard lock(mutex_);
  complete_ = false;
}

v1::CopyStatus file_lane::status() const {
  std::lock_guard lock(mutex_);
  v1::CopyStatus status;
  status.set_name(base_);
  status.set_durable(durable_before_ + progress_.durable);
  const bool in_step = running_ && (progress_.now == files_progress::phase::streaming ||
                                    progress_.now == files_progress::phase::held ||
                                    progress_.now == files_progress::phase::drained);
  if (in_step) {
    status.set_phase(v1::COPY_PHASE_STREAMING);
    return status;
  }
  status.set_phase(!running_   ? (complete_ ? v1::COPY_PHASE_CUT : v1::COPY_PHASE_UNPROTECTED)
                   : complete_ ? v1::COPY_PHASE_BEHIND
                               : v1::COPY_PHASE_COPYING);
  if (!running_ && !last_end_.ok()) status.set_reason(std::string(message_of(last_end_)));
  if (running_)
    status.set_reason(progress_.reason.empty() ? files::to_string(progress_.now) : progress_.reason);
  status.set_bytes_done(progress_.bytes_done);
  status.set_bytes_total(progress_.bytes_total);
  *status.mutable_behind() = TimeUtil::MillisecondsToDuration(
      std::chrono::duration_cast<milliseconds>(steady_clock::now() - not_in_step_since_).count());
  return status;
}

bool file_lane::complete() const {
  std::lock_guard lock(mutex_);
  return complete_;
}

bool file_lane::bulk() const {
  std::lock_guard lock(mutex_);
  return running_ && progress_.now == files_progress::phase::comparing &&
         (!complete_ || progress_.files_total >= bulk_files);
}

}  // namespace understudy::server
