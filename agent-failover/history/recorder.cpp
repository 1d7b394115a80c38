// recorder: what the copy says, on the copy's thread, and what others ask.

#include "agent-failover/history/recorder.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <utility>

#include "agent-failover/history/change_log_reader.hpp"
#include "agent-failover/history/time_text.hpp"
#include "agent-failover/history/view_body.hpp"
#include "common/status/status_macros.hpp"
#include "common/status/status_text.hpp"

namespace understudy::history {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr milliseconds fold_patience{100};       // as long as a slow sync takes
constexpr milliseconds must_fold_patience{500};  // a takeover waits no longer for the past
constexpr milliseconds release_patience{100};    // for times that would be estimated otherwise
constexpr milliseconds vain_pause{1000};  // after waiting in vain the copy is not held up again so soon
constexpr std::chrono::seconds overrun_time{30};   // that the log may stay behind, once the copy's -wal is
constexpr std::uint64_t overrun_bytes = 64 << 20;  // larger than this

}  // namespace

recorder::recorder(environment given, std::function<absl::StatusOr<std::unique_ptr<change_log>>()> opens)
    : given_(std::move(given)), opens_(std::move(opens)) {}

void recorder::void_all() {
  ++life_;
  queue_.clear();
  behind_ = 0;
  newest_frame_ = recorded_frame_ = durable_frame_ = 0;
  sync_wanted_ = false;
  lagging_since_.reset();
  recorded_.notify_all();
}

void recorder::push(item work) {
  if (retired_) {
    recording_ = false;
    return;
  }
  behind_ += work.transactions;
  queue_.push_back(std::make_shared<const item>(std::move(work)));
  if (given_.wake) given_.wake();
}

void recorder::opened(replica::observed_image image, std::vector<std::uint32_t> frames,
                      std::vector<replica::found_commit> commits) {
  const auto reading = image_.lock();
  image_.spoil();
  const std::lock_guard lock(mutex_);
  void_all();
  gap_.reset();
  recording_ = true;
  newest_ = {image.page_size, image.database_pages, image.combined};
  newest_image_ = image;
  newest_frame_ = commits.empty() ? 0 : commits.back().last_frame;
  push({.what = opened_work{std::move(image), std::move(frames), std::move(commits)},
        .applied_at = std::chrono::system_clock::now(),
        .first_frame = 0,
        .last_frame = newest_frame_,
        .transactions = 0});
}

void recorder::committed(std::vector<std::uint32_t> frames, std::vector<replica::observed_commit> commits) {
  const std::lock_guard lock(mutex_);
  const std::uint32_t first = newest_frame_;
  const std::uint64_t count = commits.size();
  const replica::observed_commit& last = commits.back();
  newest_ = {newest_image_.page_size, last.database_pages, last.register_after};
  newest_frame_ = last.last_frame;
  push({.what = commits_work{std::move(frames), std::move(commits), false},
        .applied_at = std::chrono::system_clock::now(),
        .first_frame = first,
        .last_frame = newest_frame_,
        .transactions = count});
}

std::uint32_t recorder::may_fold(std::uint32_t upto, bool must) {
  std::unique_lock lock(mutex_);
  if (!recording_ || durable_frame_ >= upto) return upto;
  sync_wanted_ = true;
  if (!given_.wake) {
    lock.unlock();
    work();
    lock.lock();
    return recording_ ? std::min(durable_frame_, upto) : upto;
  }
  given_.wake();
  const auto now = steady_clock::now();
  milliseconds patience = must ? must_fold_patience : fold_patience;
  if (!must && now < waited_in_vain_ + vain_pause) patience = milliseconds(0);
  recorded_.wait_for(lock, patience, [&] { return !recording_ || durable_frame_ >= upto; });
  if (!recording_ || durable_frame_ >= upto) {
    lagging_since_.reset();
    return upto;
  }
  waited_in_vain_ = steady_clock::now();
  if (!lagging_since_) lagging_since_ = now;
  if (!must && !overrun(upto)) return durable_frame_;
  lock.unlock();
  give_up(must ? "its log was not ready when the copy was needed" : "its log did not keep up");
  return upto;
}

bool recorder::overrun(std::uint32_t upto) const {
  return lagging_since_ && steady_clock::now() - *lagging_since_ > overrun_time &&
         std::uint64_t{upto} * newest_image_.page_size > overrun_bytes;
}

void recorder::give_up(const std::string& why) {
  const auto reading = image_.lock();
  // From now on the database file runs ahead of the log.
  image_.spoil();
  const std::lock_guard lock(mutex_);
  ++life_;
  gap_ = why;
  recording_ = false;
  sync_wanted_ = false;
  recorded_.notify_all();
  if (given_.wake) given_.wake();
}

void recorder::restarted() {
  const auto reading = image_.lock();
  image_.restart();
  const std::lock_guard lock(mutex_);
  if (!queue_.empty() && !gap_) gap_ = "its log was overtaken";
  void_all();
}

void recorder::replaced(replica::observed_image former, replica::observed_image image,
                        std::vector<std::uint32_t> different, clock_time committed_at) {
  const std::lock_guard lock(mutex_);
  newest_frame_ = recorded_frame_ = durable_frame_ = 0;
  recording_ = !gap_;
  newest_ = {image.page_size, image.database_pages, image.combined};
  newest_image_ = image;
  push({.what = replaced_work{std::move(former), std::move(image), std::move(different), committed_at},
        .applied_at = std::chrono::system_clock::now(),
        .first_frame = 0,
        .last_frame = 0,
        .transactions = 1});
}

void recorder::released() {
  {
    std::unique_lock lock(mutex_);
    if (recording_ && given_.wake) recorded_.wait_for(lock, release_patience, [&] { return behind_ == 0; });
  }
  const auto reading = image_.lock();
  image_.drop();
  const std::lock_guard lock(mutex_);
  void_all();
  gap_.reset();
  recording_ = false;
  newest_image_ = {};
}

void recorder::retire() {
  const auto reading = image_.lock();
  image_.spoil();
  const std::lock_guard lock(mutex_);
  void_all();
  retired_ = true;
  recording_ = false;
}

void recorder::expect_interruption(std::string why) {
  const std::lock_guard lock(mutex_);
  expected_ = std::move(why);
}

void recorder::tell(std::weak_ptr<news> waiter) {
  const std::lock_guard lock(waiters_mutex_);
  waiters_.push_back(std::move(waiter));
}

change_log* recorder::records() const {
  return records_;
}

window recorder::range() const {
  window w;
  if (const change_log* const l = records_) {
    const change_log::extent e = l->range();
    w = {.exists = e.exists,
         .first = e.first,
         .last = e.last,
         .begins_at = e.begins_at,
         .last_change_at = e.newest.committed_at,
         .began_because = e.began_because,
         .interrupted = e.interrupted,
         .bytes = e.bytes,
         .behind = 0};
  }
  {
    const auto reading = image_.lock();
    if (!image_.good()) w.exists = false;
  }
  const std::lock_guard lock(mutex_);
  w.behind = behind_;
  if (w.exists) return w;
  w.interrupted = true;
  if (gap_) {
    w.began_because = *gap_;
  } else if (newest_image_.database == nullptr) {
    w.began_because = expected_.empty() ? "there is no copy that is kept up to date" : expected_;
  } else {
    w.began_because = "the copy has just been opened";
  }
  if (!failure_.empty()) w.began_because += fmt::format("; {}", failure_);
  return w;
}

absl::StatusOr<moment> recorder::moment_at(clock_time time) {
  const window w = range();
  if (!w.exists) return absl::UnavailableError(fmt::format("there is no history: {}", w.began_because));
  if (time < w.begins_at) {
    const std::string why = w.began_because.empty() ? "older moments were dropped" : w.began_because;
    return absl::OutOfRangeError(fmt::format("the history begins at {} ({}); {} is before that",
                                             time_text(w.begins_at), why, time_text(time)));
  }
  const change_log& l = *records();
  change_log_reader blocks(l);
  moment m;
  m.state = w.last;
  if (auto at = l.near(time)) {
    for (;;) {
      UNDERSTUDY_ASSIGN_OR_RETURN(const auto b, blocks.next(*at));
      if (!b) break;
      if (b->what.committed_at <= time || b->what.sequence <= w.first) continue;
      m.state = b->what.sequence - 1;
      m.has_next = true;
      m.next_at = b->what.committed_at;
      break;
    }
  }
  m.last.kind = change_kind::begin;
  m.last.sequence = m.state;
  m.last.committed_at = w.begins_at;
  if (m.state > w.first) {
    UNDERSTUDY_ASSIGN_OR_RETURN(place at, blocks.find(m.state));
    UNDERSTUDY_ASSIGN_OR_RETURN(const auto b, blocks.next(at));
    if (b) m.last = b->what;
  }
  return m;
}

absl::StatusOr<std::unique_ptr<view>> recorder::view_of(std::uint64_t wanted) {
  const window w = range();
  if (!w.exists) return absl::UnavailableError(fmt::format("there is no history: {}", w.began_because));
  if (wanted < w.first || wanted > w.last) {
    return absl::OutOfRangeError(
        fmt::format("state {} is not in the history, which has {} to {}", wanted, w.first, w.last));
  }
  auto body = std::make_unique<view::body>(shared_from_this(), *records(), image_, wanted);
  UNDERSTUDY_RETURN_IF_ERROR(body->start());
  return std::make_unique<view>(std::move(body));
}

}  // namespace understudy::history
