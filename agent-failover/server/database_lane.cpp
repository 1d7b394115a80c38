#include "agent-failover/server/database_lane.hpp"

#include <fmt/core.h>
#include <grpcpp/channel.h>

#include <algorithm>
#include <utility>

#include "agent-failover/history/recorder.hpp"
#include "agent-failover/replica/guarded_copy.hpp"
#include "common/channel/database_streams.hpp"
#include "common/log/log.hpp"
#include "common/os/file_system.hpp"
#include "common/rpc/timestamp.hpp"
#include "common/status/status_macros.hpp"
#include "common/status/status_text.hpp"

namespace understudy::server {
namespace {

using channel::database_progress;
using replica::database_copy;
using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr std::uint32_t slice_pages = 256;   // read at a time: 1 MiB with the usual page size
constexpr milliseconds behind_after{3000};   // the source says every second where it is
constexpr milliseconds unheard_after{2500};  // of what it said: too old to count transactions by

std::uint64_t size_of(const channel::sink_state& state) {
  return state.exists ? std::uint64_t{state.database_pages} * state.page_size : 0;
}

}  // namespace

database_lane::database_lane(os::file_system& fs, std::string server, std::string catalog, std::string place,
                             bool found, std::function<void()> on_change)
    : stream_lane(std::move(server), std::move(catalog), std::move(on_change)),
      fs_(fs),
      place_(std::move(place)),
      found_(found) {}

database_lane::~database_lane() {
  stop();
}

void database_lane::keep_history(std::shared_ptr<history::recorder> history) {
  if (history_ == history) return;
  history_ = std::move(history);
  if (!copy_) return;
  if (released_) return copy_->with([&](database_copy& c) { c.observed_by(history_); });
  stop();
  let_go();
}

// Others may have it still (held()), for as long as they read.
void database_lane::let_go() {
  std::shared_ptr<replica::guarded_copy> copy;
  {
    const std::lock_guard lock(mutex_);
    copy = std::exchange(copy_, nullptr);
  }
  if (copy) copy->with([](database_copy& c) { c.close(); });
}

absl::Status database_lane::open() {
  if (copy_) return absl::OkStatus();
  const auto slash = place_.rfind('/');
  UNDERSTUDY_ASSIGN_OR_RETURN(auto directory, fs_.open_root(place_.substr(0, slash)));
  replica::copy_options options;
  options.observer = history_;
  UNDERSTUDY_ASSIGN_OR_RETURN(
      auto copy, replica::database_copy::open(std::move(directory), place_.substr(slash + 1), options));
  std::lock_guard lock(mutex_);
  copy_ = std::make_shared<replica::guarded_copy>(std::move(copy));
  know(copy_->state());
  return absl::OkStatus();
}

void database_lane::know(const channel::sink_state& state) {
  exists_ = state.exists;
  size_bytes_ = size_of(state);
}

void database_lane::begun() {
  durable_before_ += progress_.durable;
  heals_before_ += progress_.heals;
  progress_ = {};
}

std::unique_ptr<stream_lane::line> database_lane::connect(const std::shared_ptr<grpc::Channel>& channel) {
  using enum database_progress::phase;
  return line_of(channel::start_database_replication(
      channel, name_, copy_,
      {.on_progress =
           [this, copy = copy_](const database_progress& progress) {
             const channel::sink_state state = copy->state();  // what it waits for must not be waited for
             reported([&] {                                    // under the mutex, by whoever asks for status
               size_bytes_ = size_of(state);
               const bool in_step = progress.now == streaming;
               if (in_step && progress_.now != streaming) log::info(server_, "{} is in step", name_);
               progress_ = progress;
               exists_ = exists_ || in_step;
               if (progress.current_at.time_since_epoch().count() != 0)
                 in_step_at_ = progress.current_at - progress.clock_ahead;
               if (progress.durable_captured_at.time_since_epoch().count() != 0)
                 last_durable_commit_ = std::max(last_durable_commit_, progress.durable_captured_at);
               return standing{.in_step = in_step, .drained = progress.now == drained};
             });
           },
       .on_end = [this](const absl::Status& status) { ended(status); }}));
}

absl::StatusOr<store::freeze_row> database_lane::image() {
  // With what a stand-in wrote, if one ran.
  UNDERSTUDY_RETURN_IF_ERROR(take_back());
  const channel::sink_state state = copy_->state();
  if (!state.exists) return absl::FailedPreconditionError(fmt::format("there is no copy of {} yet", name_));
  std::lock_guard lock(mutex_);
  return store::freeze_row{.server = server_,
                           .catalog = name_,
                           .page_size = state.page_size,
                           .pages = state.database_pages,
                           .hash = state.combined,
                           .durable_captured_at = last_durable_commit_};
}

absl::Status database_lane::release() {
  stop();
  if (released_) return absl::OkStatus();
  UNDERSTUDY_RETURN_IF_ERROR(open());
  UNDERSTUDY_RETURN_IF_ERROR(copy_->with([](database_copy& c) { return c.prepare_for_stand_in(); }));
  if (history_) history_->expect_interruption("a stand-in ran before that");
  released_ = true;
  return absl::OkStatus();
}

absl::Status database_lane::take_back() {
  stop();
  if (!copy_) return open();
  const bool sound = copy_->with([](database_copy& c) { return c.condition().ok(); });
  if (!released_ && sound) return absl::OkStatus();
  UNDERSTUDY_RETURN_IF_ERROR(copy_->with([](database_copy& c) { return c.resume(); }));
  released_ = false;
  std::lock_guard lock(mutex_);
  know(copy_->state());
  return absl::OkStatus();
}

absl::StatusOr<finished_image> database_lane::finish(
    const std::function<bool(std::uint64_t done, std::uint64_t total)>& go_on) {
  stop();
  UNDERSTUDY_RETURN_IF_ERROR(open());
  UNDERSTUDY_RETURN_IF_ERROR(copy_->with([](database_copy& c) { return c.fold(); }));
  const channel::sink_state state = copy_->state();
  if (!state.exists) return absl::FailedPreconditionError(fmt::format("there is no copy of {}", name_));
  for (std::uint32_t page = 1; page <= state.database_pages; page += slice_pages) {
    if (!go_on(std::uint64_t{page - 1} * state.page_size,
               std::uint64_t{state.database_pages} * state.page_size))
      return absl::CancelledError("cancelled");
    UNDERSTUDY_ASSIGN_OR_RETURN(const auto different,
                                copy_->with([&](database_copy& c) { return c.scrub(page, slice_pages); }));
    if (!different.empty()) {
      return absl::DataLossError(
          fmt::format("{}: page {} reads back otherwise than it was written; check the disk under {}", name_,
                      different.front(), place_));
    }
  }
  UNDERSTUDY_RETURN_IF_ERROR(copy_->with([](database_copy& c) { return c.prepare_for_stand_in(); }));
  finished_image image{.page_size = state.page_size,
                       .hashes = copy_->with([](database_copy& c) { return c.page_hashes(); }),
                       .durable_captured_at = last_durable_commit()};
  close();
  return image;
}

absl::Status database_lane::hold_alone() {
  UNDERSTUDY_RETURN_IF_ERROR(take_back());
  return copy_->with([](database_copy& c) { return c.hold_alone(); });
}

void database_lane::let_in() {
  if (copy_) copy_->with([](database_copy& c) { c.let_in(); });
}

absl::Status database_lane::exchange(os::directory& from, const std::string& name, finished_image image) {
  UNDERSTUDY_RETURN_IF_ERROR(copy_->with([&](database_copy& c) {
    return c.exchange_with(from, name, image.page_size, std::move(image.hashes), image.durable_captured_at);
  }));
  std::lock_guard lock(mutex_);
  know(copy_->state());
  last_durable_commit_ = std::max(last_durable_commit_, image.durable_captured_at);
  return absl::OkStatus();
}

void database_lane::close() {
  stop();
  released_ = false;
  let_go();
  std::lock_guard lock(mutex_);
  know({});
}

std::shared_ptr<replica::guarded_copy> database_lane::held() const {
  std::lock_guard lock(mutex_);
  return copy_;
}

v1::CopyStatus database_lane::status() const {
  std::lock_guard lock(mutex_);
  v1::CopyStatus status;
  status.set_name(name_);
  status.set_durable(durable_before_ + progress_.durable);
  status.set_heals(heals_before_ + progress_.heals);
  status.set_size_bytes(size_bytes_);
  status.set_last_heal_reason(progress_.reason);
  if (last_durable_commit_.time_since_epoch().count() != 0) {
    *status.mutable_durable_captured_at() = rpc::to_timestamp(last_durable_commit_);
  }
  if (hopeless()) {
    status.set_phase(v1::COPY_PHASE_STOPPED);
    status.set_reason(exists_             ? "it is gone on the primary; the copy is kept"
                      : progress_.refused ? "not protected: " + progress_.reason
                                          : "there is none on the primary: " + absence());
    return status;
  }
  if (!running_) {
    describe_idle(status, exists_);
    if (exists_) say_behind(status);
    return status;
  }
  if (progress_.now == database_progress::phase::streaming ||
      progress_.now == database_progress::phase::drained) {
    const bool late = in_step_at_ + behind_after < std::chrono::system_clock::now();
    status.set_phase(late ? v1::COPY_PHASE_BEHIND : v1::COPY_PHASE_STREAMING);
    if (late) say_behind(status);
    if (steady_clock::now() - progress_.last_heard > unheard_after) {
      if (late) status.set_reason("nothing is heard from the agent");
      return status;
    }
    status.set_behind_transactions(progress_.source_number -
                                   std::min(progress_.source_number, progress_.durable));
    status.set_behind_bytes(status.behind_transactions() == 0 ? 0 : progress_.missing_bytes);
    return status;
  }
  status.set_phase(exists_ ? v1::COPY_PHASE_BEHIND : v1::COPY_PHASE_COPYING);
  status.set_reason(progress_.reason.empty() ? channel::to_string(progress_.now) : progress_.reason);
  status.set_bytes_done(progress_.done_bytes);
  status.set_bytes_total(progress_.total_bytes);
  say_behind(status);
  return status;
}

void database_lane::say_behind(v1::CopyStatus& status) const {
  if (in_step_at_.time_since_epoch().count() != 0) {
    set_behind(status, in_step_at_);
  } else {
    set_behind(status, not_in_step_since_);
  }
}

bool database_lane::complete() const {
  std::lock_guard lock(mutex_);
  return exists_;
}

bool database_lane::is_not_waited_for() const {
  std::lock_guard lock(mutex_);
  return hopeless() || (first_copy_ && !exists_);
}

std::string database_lane::absent_there() const {
  std::lock_guard lock(mutex_);
  return absence();
}

std::string database_lane::absence() const {
  if (unheard()) return absl::IsNotFound(last_end_) ? std::string(message_of(last_end_)) : "";
  const bool absent = progress_.now == database_progress::phase::waiting && progress_.absent;
  return absent ? progress_.reason : "";
}

// What the last stream ended with is true until the next one says something.
bool database_lane::unheard() const {
  return !running_ || (progress_.now == database_progress::phase::waiting && progress_.reason.empty());
}

bool database_lane::hopeless() const {
  if (!found_) return false;
  if (unheard()) return absl::IsNotFound(last_end_);
  return progress_.now == database_progress::phase::waiting &&
         (progress_.absent || (progress_.refused && !exists_));
}

std::chrono::system_clock::time_point database_lane::last_durable_commit() const {
  std::lock_guard lock(mutex_);
  return last_durable_commit_;
}

}  // namespace understudy::server
