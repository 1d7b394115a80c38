#include "agent-failover/server/restoration.hpp"

#include <fmt/core.h>
#include <grpcpp/channel.h>

#include <future>
#include <mutex>
#include <optional>
#include <utility>

#include "agent-failover/server/timed_wait.hpp"
#include "agent-primary/capture/capture_engine.hpp"
#include "agent-primary/files/file_source.hpp"
#include "agent-primary/files/restore_stream.hpp"
#include "common/channel/database_streams.hpp"
#include "common/log/log.hpp"
#include "common/status/status_macros.hpp"
#include "common/status/status_text.hpp"

namespace understudy::server {
namespace {

using channel::database_progress;
using files::files_progress;
using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr std::chrono::seconds adopt_answer{60};  // renames and directory syncs; a clone was made long before
constexpr std::chrono::minutes files_timeout{30};  // what changed while the stand-in served, over a slow line

void fill(v1::DatabaseImage& image, std::uint32_t page_size, std::uint32_t pages,
          const sqlite::page_hash& hash) {
  image.set_exists(true);
  image.set_page_size(page_size);
  image.set_pages(pages);
  image.mutable_hash()->set_high(hash.high);
  image.mutable_hash()->set_low(hash.low);
}

}  // namespace

// One database on its way back.
class restoration::way {
 public:
  way(capture::capture_engine& engine, std::string catalog, std::string place)
      : catalog_(std::move(catalog)), place_(std::move(place)), engine_(engine) {}

  ~way() {
    stop();
    if (source_) engine_.remove(place_);
  }

  void start(const std::shared_ptr<grpc::Channel>& channel, std::uint64_t epoch,
             const std::function<void()>& on_change) {
    if (!source_) source_ = engine_.add(place_);
    stream_ = channel::start_database_restore(channel, catalog_, epoch, source_,
                                              {.on_progress =
                                                   [this, on_change](const database_progress& progress) {
                                                     {
                                                       std::lock_guard lock(mutex_);
                                                       progress_ = progress;
                                                     }
                                                     changed_.notify();
                                                     on_change();
                                                   },
                                               .on_end =
                                                   [this, on_change](const absl::Status& status) {
                                                     {
                                                       std::lock_guard lock(mutex_);
                                                       end_ = status;
                                                     }
                                                     changed_.notify();
                                                     on_change();
                                                   }});
  }

  void stop() {
    if (!stream_) return;
    stream_->stop();
    stream_.reset();
  }

  void drain() { stream_->drain(); }

  absl::Status wait_for(database_progress::phase wanted, steady_clock::time_point deadline) {
    const bool arrived = changed_.until(deadline, [&] {
      std::lock_guard lock(mutex_);
      return end_.has_value() || progress_.now == wanted ||
             (wanted == database_progress::phase::streaming &&
              progress_.now == database_progress::phase::drained);
    });
    std::lock_guard lock(mutex_);
    if (end_) {
      return absl::Status(
          end_->ok() ? absl::StatusCode::kUnavailable : end_->code(),
          fmt::format("{}: {}", catalog_, end_->ok() ? "the stream ended" : message_of(*end_)));
    }
    if (arrived) return absl::OkStatus();
    return absl::DeadlineExceededError(
        fmt::format("{} is still {}: {}", catalog_, channel::to_string(progress_.now), progress_.reason));
  }

  absl::StatusOr<v1::Adopted> adopt(const std::vector<store::freeze_row>& base, v1::DivergedChoice choice) {
    const channel::source_state state = source_->state();
    v1::AdoptImage request;
    fill(*request.mutable_image(), state.page_size, state.database_pages, state.combined);
    for (const auto& row : base) {
      if (row.catalog == catalog_) fill(*request.mutable_base(), row.page_size, row.pages, row.hash);
    }
    request.set_choice(choice);
    // Shared, for the answer may come after the wait was given up.
    auto answer = std::make_shared<std::promise<absl::StatusOr<v1::Adopted>>>();
    auto future = answer->get_future();
    stream_->adopt(request,
                   [answer](const absl::StatusOr<v1::Adopted>& adopted) { answer->set_value(adopted); });
    if (future.wait_for(adopt_answer) != std::future_status::ready) {
      return absl::DeadlineExceededError(
          fmt::format("{}: the primary did not say within {} s that the image is in place", catalog_,
                      adopt_answer.count()));
    }
    return future.get();
  }

  database_progress progress() const {
    std::lock_guard lock(mutex_);
    return progress_;
  }
  const std::string& catalog() const { return catalog_; }

 private:
  const std::string catalog_;
  const std::string place_;
  capture::capture_engine& engine_;
  std::shared_ptr<channel::database_source> source_;
  std::unique_ptr<channel::restore_stream> stream_;
  timed_wait changed_;
  mutable std::mutex mutex_;
  database_progress progress_;
  std::optional<absl::Status> end_;
};

// One file tree on its way back.
class restoration::tree_way {
 public:
  ~tree_way() { stop(); }

  absl::Status start(const std::shared_ptr<grpc::Channel>& channel, std::uint32_t index, std::uint64_t epoch,
                     const v1::FileSelection& selection, std::string place,
                     const std::function<void()>& on_change) {
    base_ = selection.base();
    files::file_source_options options{.what = files::from_message(selection)};
    options.root = std::move(place);
    UNDERSTUDY_ASSIGN_OR_RETURN(source_, files::file_source::start(std::move(options)));
    stream_ = files::start_files_restore(channel, index, epoch, source_,
                                         {.on_progress =
                                              [this, on_change](const files_progress& progress) {
                                                {
                                                  std::lock_guard lock(mutex_);
                                                  progress_ = progress;
                                                }
                                                changed_.notify();
                                                on_change();
                                              },
                                          .on_end =
                                              [this, on_change](const absl::Status& status) {
                                                {
                                                  std::lock_guard lock(mutex_);
                                                  end_ = status;
                                                }
                                                changed_.notify();
                                                on_change();
                                              }});
    return absl::OkStatus();
  }

  void stop() {
    if (!stream_) return;
    stream_->stop();
    stream_.reset();
  }

  void drain() { stream_->drain(); }

  absl::Status wait_for(files_progress::phase wanted, steady_clock::time_point deadline) {
    const bool arrived = changed_.until(deadline, [&] {
      std::lock_guard lock(mutex_);
      return end_.has_value() || progress_.now == wanted || progress_.now == files_progress::phase::drained;
    });
    std::lock_guard lock(mutex_);
    if (end_) {
      return absl::Status(end_->ok() ? absl::StatusCode::kUnavailable : end_->code(),
                          fmt::format("{}: {}", base_, end_->ok() ? "the stream ended" : message_of(*end_)));
    }
    if (arrived) return absl::OkStatus();
    return absl::DeadlineExceededError(
        fmt::format("{} is still {}: {}", base_, files::to_string(progress_.now), progress_.reason));
  }

  files_progress progress() const {
    std::lock_guard lock(mutex_);
    return progress_;
  }
  const std::string& base() const { return base_; }

 private:
  std::string base_;
  std::shared_ptr<files::file_source> source_;
  std::unique_ptr<files::files_stream> stream_;
  timed_wait changed_;
  mutable std::mutex mutex_;
  files_progress progress_;
  std::optional<absl::Status> end_;
};

restoration::restoration(capture::capture_engine& engine, const copy_layout& layout,
                         const v1::ServerSpec& spec, std::function<void()> on_change)
    : engine_(engine), layout_(layout), spec_(spec), on_change_(std::move(on_change)) {}

restoration::~restoration() = default;

absl::Status restoration::begin(const std::shared_ptr<grpc::Channel>& channel, std::uint64_t epoch) {
  databases_.clear();
  trees_.clear();
  drained_ = false;
  for (const auto& database : spec_.databases()) {
    auto& lane = databases_.emplace_back(
        std::make_unique<way>(engine_, database.catalog(), layout_.place_of(database.path())));
    lane->start(channel, epoch, on_change_);
  }
  channel_ = channel;
  epoch_ = epoch;
  return absl::OkStatus();
}

absl::Status restoration::begin_files() {
  if (!trees_.empty()) return absl::OkStatus();
  for (int i = 0; i < spec_.files_size(); ++i) {
    auto& tree = trees_.emplace_back(std::make_unique<tree_way>());
    UNDERSTUDY_RETURN_IF_ERROR(tree->start(channel_, static_cast<std::uint32_t>(i), epoch_, spec_.files(i),
                                           layout_.place_of(spec_.files(i).base()), on_change_));
  }
  return absl::OkStatus();
}

absl::Status restoration::wait_in_step(milliseconds timeout) {
  const auto deadline = steady_clock::now() + timeout;
  for (auto& lane : databases_)
    UNDERSTUDY_RETURN_IF_ERROR(lane->wait_for(database_progress::phase::streaming, deadline));
  return absl::OkStatus();
}

absl::Status restoration::drain(milliseconds timeout) {
  const auto deadline = steady_clock::now() + timeout;
  for (auto& lane : databases_) lane->drain();
  for (auto& lane : databases_)
    UNDERSTUDY_RETURN_IF_ERROR(lane->wait_for(database_progress::phase::drained, deadline));
  // Files go straight into the primary's tree (what they replace is set aside), so they go last, when nothing
  // but the adoption is left to be done.
  UNDERSTUDY_RETURN_IF_ERROR(begin_files());
  const auto files_deadline = steady_clock::now() + files_timeout;
  for (auto& tree : trees_) {
    UNDERSTUDY_RETURN_IF_ERROR(tree->wait_for(files_progress::phase::streaming, files_deadline));
    tree->drain();
  }
  for (auto& tree : trees_) {
    UNDERSTUDY_RETURN_IF_ERROR(tree->wait_for(files_progress::phase::drained, files_deadline));
  }
  drained_ = true;
  return absl::OkStatus();
}

absl::StatusOr<std::vector<std::string>> restoration::adopt(const std::vector<store::freeze_row>& base,
                                                            v1::DivergedChoice choice) {
  std::vector<std::string> set_aside;
  for (auto& lane : databases_) {
    UNDERSTUDY_ASSIGN_OR_RETURN(v1::Adopted adopted, lane->adopt(base, choice));
    if (adopted.set_aside().empty()) continue;
    set_aside.push_back(adopted.set_aside());
    log::info(spec_.name(), "{}: the primary's own {} is kept at {}", lane->catalog(),
              adopted.diverged() ? "diverged data" : "former data", adopted.set_aside());
  }
  return set_aside;
}

void restoration::stop() {
  databases_.clear();
  trees_.clear();
}

restoration_progress restoration::progress() const {
  restoration_progress all;
  for (const auto& lane : databases_) {
    const database_progress one = lane->progress();
    all.phase = fmt::format("{}: {}", lane->catalog(), channel::to_string(one.now));
    all.bytes_done += one.done_bytes;
    all.bytes_total += one.total_bytes;
  }
  for (const auto& tree : trees_) {
    const files_progress one = tree->progress();
    if (one.now == files_progress::phase::comparing)
      all.phase = fmt::format("{}: {}", tree->base(), files::to_string(one.now));
    all.bytes_done += one.bytes_done;
    all.bytes_total += one.bytes_total;
  }
  return all;
}

}  // namespace understudy::server
