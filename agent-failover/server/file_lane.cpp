#include "agent-failover/server/file_lane.hpp"

#include <fmt/core.h>
#include <grpcpp/channel.h>

#include <algorithm>
#include <utility>

#include "agent-failover/replica/tree/file_tree_sink.hpp"
#include "agent-failover/replica/tree/files_stream.hpp"
#include "common/files/selection.hpp"
#include "common/log/log.hpp"
#include "common/os/file_system.hpp"
#include "common/status/status_macros.hpp"
#include "common/status/status_text.hpp"

namespace understudy::server {
namespace {

using files::files_progress;

}  // namespace

file_lane::file_lane(os::file_system& fs, const v1::ServerSpec& spec, std::uint32_t index,
                     const copy_layout& layout, std::function<void()> on_change)
    : stream_lane(spec.name(), spec.files(static_cast<int>(index)).base(), std::move(on_change)),
      fs_(fs),
      selection_(spec.files(static_cast<int>(index))),
      index_(index),
      limit_(spec.file_bandwidth() == 0
                 ? 0
                 : std::max<std::uint64_t>(
                       1, spec.file_bandwidth() / static_cast<std::uint64_t>(spec.files_size()))),
      layout_(layout) {}

file_lane::~file_lane() {
  stop();
}

absl::Status file_lane::open() {
  if (sink_) return absl::OkStatus();
  files::tree_sink_options options;
  options.tree = layout_.place_of(name_);
  options.beside = layout_.directory();
  options.name = fmt::format("files-{}", index_);
  options.what = files::from_message(selection_);
  options.limit = limit_;
  options.feed = feed_;
  UNDERSTUDY_ASSIGN_OR_RETURN(sink_, files::file_tree_sink::open(fs_, std::move(options)));
  // A copy that was in step remembers it.
  std::lock_guard lock(mutex_);
  complete_ = complete_ || sink_->memory().in_step_until != 0;
  return absl::OkStatus();
}

void file_lane::exclude(const std::string& database) {
  const std::string base = name_.ends_with('/') ? name_ : name_ + "/";
  const auto matcher = files::selection_matcher::make(files::from_message(selection_));
  const bool travelled =
      database.starts_with(base) &&
      !(matcher.ok() && matcher->is_database(std::string_view(database).substr(base.size())));
  selection_.add_exclude_databases(database);
  if (!travelled) return;
  stop();
  sink_.reset();
}

void file_lane::begun() {
  durable_before_ += progress_.durable;
  progress_ = {};
}

std::unique_ptr<stream_lane::line> file_lane::connect(const std::shared_ptr<grpc::Channel>& channel) {
  using enum files_progress::phase;
  return line_of(files::start_files_replication(
      channel, index_, sink_,
      {.on_progress =
           [this](const files_progress& progress) {
             reported([&] {
               const bool in_step = progress.now == streaming;
               if (in_step && progress_.now != streaming)
                 log::info(server_, "{} is in step, {} entries", name_, progress.entries);
               complete_ = complete_ || in_step;
               progress_ = progress;
               return standing{.in_step = in_step, .drained = progress.now == drained};
             });
           },
       .on_end = [this](const absl::Status& status) { ended(status); }}));
}

absl::Status file_lane::release() {
  stop();
  UNDERSTUDY_RETURN_IF_ERROR(open());
  return sink_->forget();
}

void file_lane::close() {
  stop();
  if (sink_) sink_->break_feed("the copy was moved away, and another one begins");
  sink_.reset();
  std::lock_guard lock(mutex_);
  complete_ = false;
}

v1::CopyStatus file_lane::status() const {
  std::lock_guard lock(mutex_);
  v1::CopyStatus status;
  status.set_name(name_);
  status.set_durable(durable_before_ + progress_.durable);
  const bool in_step = running_ && (progress_.now == files_progress::phase::streaming ||
                                    progress_.now == files_progress::phase::held ||
                                    progress_.now == files_progress::phase::drained);
  if (in_step) {
    status.set_phase(v1::COPY_PHASE_STREAMING);
    return status;
  }
  status.set_bytes_done(progress_.bytes_done);
  status.set_bytes_total(progress_.bytes_total);
  if (!running_) {
    describe_idle(status, complete_);
    return status;
  }
  status.set_phase(complete_ ? v1::COPY_PHASE_BEHIND : v1::COPY_PHASE_COPYING);
  status.set_reason(progress_.reason.empty() ? files::to_string(progress_.now) : progress_.reason);
  set_behind(status, not_in_step_since_);
  return status;
}

bool file_lane::complete() const {
  std::lock_guard lock(mutex_);
  return complete_;
}

}  // namespace understudy::server
