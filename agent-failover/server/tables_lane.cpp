#include "agent-failover/server/tables_lane.hpp"

#include <fmt/core.h>
#include <grpcpp/channel.h>

#include <algorithm>
#include <utility>

#include "agent-failover/replica/guarded_copy.hpp"
#include "agent-failover/tables/copy_image.hpp"
#include "agent-failover/tables/table_merge.hpp"
#include "agent-failover/tables/table_sink.hpp"
#include "agent-failover/tables/table_stream.hpp"
#include "common/log/log.hpp"
#include "common/os/file_system.hpp"
#include "common/rpc/timestamp.hpp"
#include "common/sqlite/wal_format.hpp"
#include "common/status/status_macros.hpp"

namespace understudy::server {
namespace {

using channel::database_progress;
using std::chrono::milliseconds;
using std::chrono::system_clock;

constexpr milliseconds behind_after{3000};  // the source says every second where it is

// A plain database file that nobody has open.
class file_image final : public rows::page_source {
 public:
  file_image(os::file& file, const finished_image& image) : file_(file), image_(image) {}
  std::uint32_t page_size() const override { return image_.page_size; }
  std::uint32_t page_count() const override { return image_.hashes.size(); }
  absl::Status read_page(std::uint32_t number, std::span<std::byte> page) override {
    UNDERSTUDY_ASSIGN_OR_RETURN(const std::size_t n,
                                file_.read_at(page, std::uint64_t{number - 1} * image_.page_size));
    std::fill(page.begin() + static_cast<std::ptrdiff_t>(n), page.end(), std::byte{0});
    return absl::OkStatus();
  }

 private:
  os::file& file_;
  const finished_image& image_;
};

}  // namespace

tables_lane::tables_lane(std::string server, std::shared_ptr<database_lane> copy,
                         std::vector<std::string> tables, std::function<void()> on_change)
    : stream_lane(std::move(server), copy->name(), std::move(on_change)),
      copy_(std::move(copy)),
      tables_(std::move(tables)) {}

tables_lane::~tables_lane() {
  stop();
}

absl::Status tables_lane::release() {
  stop();
  forget();
  return absl::OkStatus();
}

void tables_lane::forget() {
  if (sink_) acknowledged_at_ = std::max(acknowledged_at_, sink_->durable_at());
  sink_.reset();
  fed_.reset();
}

absl::Status tables_lane::ready() {
  UNDERSTUDY_RETURN_IF_ERROR(copy_->take_back());
  auto copy = copy_->held();
  if (!copy || !copy->state().exists)
    return absl::FailedPreconditionError(fmt::format("there is no copy of {} yet", name_));
  if (sink_ && fed_ == copy) return absl::OkStatus();
  forget();
  fed_ = std::move(copy);
  sink_ = std::make_shared<tables::table_sink>(fed_, tables_);
  return absl::OkStatus();
}

void tables_lane::begun() {
  before_.durable += now_.durable;
  before_.heals += now_.heals;
  before_.received_bytes += now_.received_bytes;
  before_.saved_bytes += now_.saved_bytes;
  before_.saved_transactions += now_.saved_transactions;
  now_ = {};
  progress_ = {};
}

std::unique_ptr<stream_lane::line> tables_lane::connect(const std::shared_ptr<grpc::Channel>& channel) {
  using enum database_progress::phase;
  channel::stream_callbacks callbacks;
  callbacks.on_progress = [this](const database_progress& progress) {
    reported([&] {
      const bool in_step = progress.now == streaming;
      if (in_step && progress_.now != streaming)
        log::info(server_, "{}: the named tables are in step", name_);
      progress_ = progress;
      now_.durable = progress.durable;
      now_.heals = progress.heals;
      now_.received_bytes = progress.received_bytes;
      if (progress.current_at.time_since_epoch().count() != 0)
        in_step_at_ = progress.current_at - progress.clock_ahead;
      if (progress.durable_captured_at.time_since_epoch().count() != 0)
        last_durable_commit_ = std::max(last_durable_commit_, progress.durable_captured_at);
      return standing{.in_step = in_step, .drained = progress.now == drained};
    });
  };
  callbacks.on_end = [this](const absl::Status& status) { ended(status); };
  return line_of(tables::start_table_replication(channel, name_, tables_, sink_, std::move(callbacks),
                                                 [this](const tables::saved_traffic& saved) {
                                                   const std::lock_guard lock(mutex_);
                                                   now_.saved_bytes = saved.bytes;
                                                   now_.saved_transactions = saved.transactions;
                                                 }));
}

absl::Status tables_lane::merge_into(os::directory& next, const std::string& file, finished_image& image,
                                     std::chrono::steady_clock::time_point begun) {
  if (std::max(acknowledged_at_, sink_ ? sink_->durable_at() : acknowledged_at_) < begun)
    return absl::OkStatus();
  UNDERSTUDY_RETURN_IF_ERROR(copy_->take_back());
  UNDERSTUDY_ASSIGN_OR_RETURN(const auto opened, next.open(file, os::open_mode::read_write));
  file_image present(*opened, image);
  UNDERSTUDY_ASSIGN_OR_RETURN(const tables::merged_image merged,
                              copy_->held()->with([&](replica::database_copy& copy) {
                                tables::copy_image acknowledged(copy);
                                return tables::merge_tables(present, acknowledged, tables_);
                              }));
  image.hashes.resize(merged.database_pages);
  for (const auto& page : merged.pages) {
    const auto bytes = std::as_bytes(std::span(page.bytes));
    UNDERSTUDY_RETURN_IF_ERROR(opened->write_at(bytes, std::uint64_t{page.number - 1} * image.page_size));
    if (page.number != sqlite::lock_page(image.page_size))
      image.hashes.set(page.number, sqlite::hash_page(page.number, bytes));
  }
  UNDERSTUDY_RETURN_IF_ERROR(opened->truncate(std::uint64_t{merged.database_pages} * image.page_size));
  return opened->sync_data();
}

void tables_lane::copy_changed() {
  if (sink_) sink_->copy_changed();
}

system_clock::time_point tables_lane::last_durable_commit() const {
  const std::lock_guard lock(mutex_);
  return last_durable_commit_;
}

v1::CopyStatus tables_lane::status() const {
  const std::lock_guard lock(mutex_);
  v1::CopyStatus status;
  status.set_name(name_);
  status.set_durable(before_.durable + now_.durable);
  status.set_heals(before_.heals + now_.heals);
  status.set_last_heal_reason(progress_.reason);
  for (const std::string& table : tables_) status.add_tables(table);
  status.set_tables_received_bytes(before_.received_bytes + now_.received_bytes);
  status.set_tables_saved_bytes(before_.saved_bytes + now_.saved_bytes);
  status.set_tables_saved_transactions(before_.saved_transactions + now_.saved_transactions);
  if (last_durable_commit_.time_since_epoch().count() != 0) {
    *status.mutable_durable_captured_at() = rpc::to_timestamp(last_durable_commit_);
  }
  const bool known = in_step_at_.time_since_epoch().count() != 0;
  if (!running_) {
    describe_idle(status, true);
    if (known) set_behind(status, in_step_at_);
    return status;
  }
  const bool in_step = progress_.now == database_progress::phase::streaming ||
                       progress_.now == database_progress::phase::drained;
  if (in_step && in_step_at_ + behind_after >= system_clock::now()) {
    status.set_phase(v1::COPY_PHASE_STREAMING);
    status.set_behind_transactions(progress_.source_number -
                                   std::min(progress_.source_number, progress_.durable));
    status.set_behind_bytes(status.behind_transactions() == 0 ? 0 : progress_.missing_bytes);
    return status;
  }
  status.set_phase(v1::COPY_PHASE_BEHIND);
  status.set_reason(!progress_.reason.empty() ? progress_.reason : channel::to_string(progress_.now));
  if (known) {
    set_behind(status, in_step_at_);
  } else {
    set_behind(status, not_in_step_since_);
  }
  return status;
}

}  // namespace understudy::server
