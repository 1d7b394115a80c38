#include "agent-failover/server/copy_caretaker.hpp"

#include <fmt/core.h>
#include <grpcpp/grpcpp.h>
#include <linux/ioprio.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "agent-failover/replica/guarded_copy.hpp"
#include "agent-failover/server/database_lane.hpp"
#include "common/log/log.hpp"
#include "common/status/status_text.hpp"
#include "understudy/v1/verification.grpc.pb.h"

namespace understudy::server {
namespace {

using replica::database_copy;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr seconds look_every{1};
constexpr milliseconds quiet_enough{100};  // since the stream last fed the copy
constexpr std::uint64_t slice_bytes =
    1 << 20;                  // read under the copy's mutex: a commit waits for less than 1 ms
constexpr int patience = 50;  // for a copy that is busy, in slices of 2 ms
constexpr std::chrono::hours longest_reading{2};  // of a primary's file

std::uint32_t slice_pages(std::uint32_t page_size) {
  return static_cast<std::uint32_t>(std::max<std::uint64_t>(1, slice_bytes / std::max(page_size, 512u)));
}

}  // namespace

std::string in_words(const verified_database& found) {
  std::string text = fmt::format("{}: {} pages here", found.catalog, found.pages_here);
  if (found.pages_there > 0) text += fmt::format(" and {} on the primary", found.pages_there);
  text += " read again";
  text += found.different_here == 0 ? ", none differed here"
                                    : fmt::format(", {} differed here", found.different_here);
  if (found.different_there > 0)
    text += fmt::format(", {} of the primary's file are damaged", found.different_there);
  if (found.gone_there) text += "; it is gone on the primary, the copy is kept";
  if (!found.problem.empty()) text += "; " + found.problem;
  return text;
}

copy_caretaker::copy_caretaker(std::string server, std::function<database_lanes()> lanes,
                               std::function<void()> on_change, caretaker_options options)
    : server_(std::move(server)),
      lanes_(std::move(lanes)),
      on_change_(std::move(on_change)),
      options_(options) {
  thread_ = std::thread([this] { run(); });
}

copy_caretaker::~copy_caretaker() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    if (asking_ != nullptr) asking_->TryCancel();
    woken_.notify_all();
  }
  thread_.join();
}

void copy_caretaker::verify(std::shared_ptr<grpc::Channel> agent) {
  const std::lock_guard lock(mutex_);
  asked_ = ++serial_;
  agent_ = std::move(agent);
  verified_.clear();
  if (asking_ != nullptr) asking_->TryCancel();
  woken_.notify_all();
}

void copy_caretaker::cancel() {
  const std::lock_guard lock(mutex_);
  asked_ = 0;
  verified_.clear();
  if (asking_ != nullptr) asking_->TryCancel();
}

bool copy_caretaker::verifying() const {
  const std::lock_guard lock(mutex_);
  return asked_ != 0;
}

bool copy_caretaker::wanted(std::uint64_t serial) const {
  const std::lock_guard lock(mutex_);
  return asked_ == serial && !stopping_;
}

std::vector<verified_database> copy_caretaker::take_verified() {
  const std::lock_guard lock(mutex_);
  return std::exchange(verified_, {});
}

std::vector<std::string> copy_caretaker::take_divergences() {
  const std::lock_guard lock(mutex_);
  return std::exchange(divergences_, {});
}

std::vector<std::string> copy_caretaker::take_large_logs() {
  const std::lock_guard lock(mutex_);
  return std::exchange(large_logs_, {});
}

void copy_caretaker::run() {
  ::pthread_setname_np(::pthread_self(), "caretaker");
  // Of this thread alone; where it is not heeded (no such scheduler) the rate still is. Not the idle class:
  // on a busy disk it is not served, and a commit would wait behind the mutex that is held meanwhile.
  (void)::syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, IOPRIO_PRIO_VALUE(IOPRIO_CLASS_BE, 7));
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    if (const std::uint64_t serial = asked_; serial != 0) {
      const auto agent = agent_;
      lock.unlock();
      verify_all(serial, agent);
      lock.lock();
      continue;
    }
    lock.unlock();
    const database_lanes lanes = lanes_();
    fold_what_is_due(lanes);
    std::uint64_t all = 0;
    for (const auto& lane : lanes) {
      if (const auto copy = lane->held()) {
        const channel::sink_state state = copy->state();
        all += std::uint64_t{state.database_pages} * state.page_size;
      }
    }
    read_on(lanes, std::max(options_.least_bytes_per_second, all / options_.whole_copy_seconds));
    lock.lock();
    woken_.wait_for(lock, look_every, [&] { return stopping_ || asked_ != 0; });
  }
}

void copy_caretaker::fold_what_is_due(const database_lanes& lanes) {
  for (const auto& lane : lanes) {
    const auto copy = lane->held();
    if (!copy) continue;
    // A copy that cannot be folded now says so in its figures, and to the stream.
    const bool quiet = copy->quiet_for() >= quiet_enough;
    const replica::copy_figures now = copy->with([&](database_copy& c) {
      if (quiet) (void)c.fold_if_due();
      return c.figures();
    });
    bool& told = passes_[lane->name()].log_told;
    if (now.wal_bytes < options_.large_log) {
      told = told && now.wal_bytes > 0 && !now.fold_blocked_by.empty();
    } else if (!std::exchange(told, true)) {
      tell(large_logs_,
           fmt::format(
               "{}: the log of the copy has {} MiB and cannot be folded: {} is in the way; it grows until "
               "that ends",
               lane->name(), now.wal_bytes >> 20,
               now.fold_blocked_by.empty() ? "something" : now.fold_blocked_by));
    }
  }
}

void copy_caretaker::read_on(const database_lanes& lanes, std::uint64_t bytes) {
  for (std::size_t tried = 0; bytes > 0 && tried <= lanes.size();) {
    if (lane_ >= lanes.size()) lane_ = 0;
    if (lanes.empty()) return;
    database_lane& lane = *lanes[lane_];
    if (std::exchange(reading_, lane.name()) != lane.name()) next_page_ = 1;
    const auto copy = lane.held();
    const channel::sink_state state = copy ? copy->state() : channel::sink_state{};
    pass& own = passes_[lane.name()];
    const auto now = std::chrono::steady_clock::now();
    if (next_page_ == 1 && own.begun && now < *own.begun + options_.least_between_passes) {
      ++lane_;
      ++tried;
      continue;
    }
    if (!state.exists || next_page_ > state.database_pages) {
      if (state.exists && !own.failed) own.told = false;
      ++lane_;
      next_page_ = 1;
      ++tried;
      continue;
    }
    const auto pages = static_cast<std::uint32_t>(std::min<std::uint64_t>(
        slice_pages(state.page_size), std::max<std::uint64_t>(1, bytes / state.page_size)));
    std::uint64_t different = 0;
    const absl::StatusOr<std::uint64_t> read = scrub(lane, next_page_, pages, different);
    if (read.ok() && *read == 0) return;  // busy, or with the stand-in: here again in a second
    if (next_page_ == 1) {
      own.begun = now;
      own.failed = false;
    }
    if (!read.ok()) {
      own.failed = true;
      if (!std::exchange(own.told, true)) {
        tell(divergences_,
             fmt::format("{}: pages {} to {} of the copy cannot be read: {}; check the disk, they are "
                         "tried again",
                         lane.name(), next_page_,
                         std::min<std::uint64_t>(std::uint64_t{next_page_} + pages - 1, state.database_pages),
                         message_of(read.status())));
      }
    }
    next_page_ += pages;
    bytes -= std::min<std::uint64_t>(bytes, std::uint64_t{pages} * state.page_size);
    if (different > 0) {
      tell(divergences_,
           fmt::format(
               "{}: {} pages of the copy read back otherwise than they were written; they are brought again",
               lane.name(), different));
    }
  }
}

void copy_caretaker::tell(std::vector<std::string>& to, const std::string& text) {
  log::error(server_, "{}", text);
  {
    const std::lock_guard lock(mutex_);
    to.push_back(text);
  }
  on_change_();
}

// Returns how many pages were read; 0: not now. An error: they cannot be read.
absl::StatusOr<std::uint64_t> copy_caretaker::scrub(database_lane& lane, std::uint32_t first,
                                                    std::uint32_t pages, std::uint64_t& different) {
  const auto copy = lane.held();
  if (!copy) return 0;
  for (int attempt = 0; attempt < patience; ++attempt) {
    std::uint64_t present = 0;
    const absl::Status status = copy->with([&](database_copy& c) -> absl::Status {
      present = c.state().database_pages;
      const auto found = c.scrub(first, pages);
      if (!found.ok() || found->empty()) return found.status();
      different += found->size();
      return c.disown(*found);
    });
    if (status.ok()) {
      if (different > 0) lane.compare_anew();
      return first > present ? 0 : std::min<std::uint64_t>(pages, present - first + 1);
    }
    if (absl::IsFailedPrecondition(status)) return 0;  // with the stand-in, let go of, or to be healed
    if (!absl::IsUnavailable(status)) return status;
    std::this_thread::sleep_for(milliseconds(2));
  }
  return 0;
}

void copy_caretaker::verify_all(std::uint64_t serial, const std::shared_ptr<grpc::Channel>& agent) {
  std::vector<verified_database> all;
  for (const auto& lane : lanes_()) {
    verified_database found{.catalog = lane->name()};
    const auto copy = lane->held();
    channel::sink_state state = copy ? copy->state() : channel::sink_state{};
    for (std::uint32_t first = 1; state.exists && first <= state.database_pages && wanted(serial);) {
      const absl::StatusOr<std::uint64_t> read =
          scrub(*lane, first, slice_pages(state.page_size), found.different_here);
      state = copy->state();
      if (!read.ok()) {
        found.problem = fmt::format("the copy cannot be read: {}", message_of(read.status()));
        break;
      }
      if (*read == 0 && first <= state.database_pages) {
        found.problem = "the copy is busy or in use here, and was read in part only";
        break;
      }
      found.pages_here += *read;
      first += static_cast<std::uint32_t>(std::max<std::uint64_t>(*read, 1));
    }
    if (agent && wanted(serial)) ask_agent(agent, serial, lane->may_be_missing(), found);
    all.push_back(std::move(found));
  }
  {
    const std::lock_guard lock(mutex_);
    if (asked_ != serial) return;
    asked_ = 0;
    verified_ = std::move(all);
  }
  on_change_();
}

void copy_caretaker::ask_agent(const std::shared_ptr<grpc::Channel>& agent, std::uint64_t serial,
                               bool may_be_missing, verified_database& found) {
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + longest_reading);
  {
    const std::lock_guard lock(mutex_);
    if (asked_ != serial || stopping_) return;
    asking_ = &context;
  }
  v1::VerifyDatabaseRequest request;
  request.set_catalog(found.catalog);
  v1::VerifyDatabaseResponse response;
  const grpc::Status status =
      v1::DatabaseVerification::NewStub(agent)->VerifyDatabase(&context, request, &response);
  {
    const std::lock_guard lock(mutex_);
    asking_ = nullptr;
  }
  if (status.error_code() == grpc::StatusCode::UNIMPLEMENTED) return;  // an agent of an older version
  if (may_be_missing && status.error_code() == grpc::StatusCode::NOT_FOUND) {
    found.gone_there = true;
    return;
  }
  if (!status.ok()) {
    found.problem += fmt::format("{}the primary's file was not read: {}", found.problem.empty() ? "" : "; ",
                                 status.error_message());
    return;
  }
  found.pages_there = response.pages_read();
  found.different_there = response.pages_different();
}

}  // namespace understudy::server
