#include "agent-failover/history/keeper.hpp"

#include <fmt/core.h>
#include <sys/statvfs.h>

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "common/log/log.hpp"
#include "common/status/status_macros.hpp"
#include "common/status/status_text.hpp"

namespace understudy::history {
namespace {

using std::chrono::steady_clock;

constexpr std::uint64_t segments =
    32;  // that a history is made of: dropping one loses a thirtieth of the window
constexpr std::uint64_t smallest_segment = 256 << 10;  // bytes
constexpr std::uint64_t largest_segment = 64 << 20;    // bytes
constexpr std::chrono::seconds tidy_every{60};         // a window of hours need not be more exact
constexpr std::uint64_t most_spare = 1ull << 30;       // bytes that stay free on the disk for the copy, or
constexpr std::uint64_t spare_share = 20;              // a twentieth of it, where that is less

// Free bytes beyond those that are left to the copy. A filesystem that does not say has enough.
std::uint64_t free_bytes(const std::string& directory) {
  struct ::statvfs fs {};
  if (::statvfs(directory.c_str(), &fs) != 0) return UINT64_MAX;
  const std::uint64_t all = std::uint64_t{fs.f_blocks} * fs.f_frsize;
  const std::uint64_t free = std::uint64_t{fs.f_bavail} * fs.f_frsize;
  const std::uint64_t spare = std::min(most_spare, all / spare_share);
  return free > spare ? free - spare : 0;
}

}  // namespace

keeper::keeper(os::file_system& fs, std::string server, std::string directory, bounds within)
    : fs_(fs), server_(std::move(server)), directory_(std::move(directory)), within_(within) {
  thread_ = std::thread([this] { run(); });
}

keeper::~keeper() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    woken_.notify_all();
  }
  thread_.join();
}

std::shared_ptr<recorder> keeper::history_of(const std::string& catalog) {
  const std::lock_guard lock(mutex_);
  auto& kept = recorders_[catalog];
  if (kept == nullptr) {
    recorder::environment given;
    given.server = server_;
    given.catalog = catalog;
    given.wake = [this] {
      const std::lock_guard waking(mutex_);
      wanted_ = true;
      woken_.notify_all();
    };
    given.make_room = [this](std::uint64_t bytes) { return make_room(bytes); };
    kept = std::make_shared<recorder>(std::move(given), [this, catalog] {
      return change_log::open(fs_, fmt::format("{}/{}", directory_, catalog),
                              std::clamp(within_.bytes / segments, smallest_segment, largest_segment));
    });
    wanted_ = true;
    woken_.notify_all();
  }
  return kept;
}

void keeper::run() {
  auto tidy_at = steady_clock::now() + tidy_every;
  for (;;) {
    std::vector<std::shared_ptr<recorder>> all;
    {
      const std::lock_guard lock(mutex_);
      if (stopping_) return;
      wanted_ = false;
      for (const auto& [catalog, kept] : recorders_) all.push_back(kept);
    }
    auto next = tidy_at;
    for (const auto& kept : all) {
      if (const auto again = kept->work()) next = std::min(next, *again);
    }
    if (steady_clock::now() >= tidy_at) {
      tidy();
      tidy_at = next = steady_clock::now() + tidy_every;
    }
    std::unique_lock lock(mutex_);
    woken_.wait_until(lock, next, [this] { return wanted_ || stopping_; });
  }
}

// Drops the segment that ended first, of whatever database.
bool keeper::drop_one(const std::string& why) {
  change_log* oldest = nullptr;
  clock_time ended = clock_time::max();
  std::string catalog;
  const std::lock_guard lock(mutex_);
  for (const auto& [name, kept] : recorders_) {
    change_log* const l = kept->records();
    if (l == nullptr) continue;
    const change_log::extent e = l->range();
    if (e.segments < 2 || e.oldest_segment_ends_at >= ended) continue;
    oldest = l;
    ended = e.oldest_segment_ends_at;
    catalog = name;
  }
  if (oldest == nullptr) return false;
  const absl::Status dropped = oldest->drop_oldest();
  if (!dropped.ok()) {
    if (!absl::IsFailedPrecondition(dropped)) {
      log::warning(server_, "{}: an old part of its history cannot be dropped: {}", catalog,
                   message_of(dropped));
    }
    return false;
  }
  log::debug(server_, "{}: the oldest part of its history was dropped: {}", catalog, why);
  return true;
}

bool keeper::make_room(std::uint64_t bytes) {
  for (;;) {
    std::uint64_t used = 0;
    {
      const std::lock_guard lock(mutex_);
      for (const auto& [catalog, kept] : recorders_) {
        if (const change_log* const l = kept->records()) used += l->bytes();
      }
    }
    const bool within = used + bytes <= within_.bytes;
    if (within && free_bytes(directory_) >= bytes) return true;
    if (!drop_one(within ? "the disk is almost full" : "history.bytes")) return false;
  }
}

void keeper::tidy() {
  const auto now = std::chrono::system_clock::now();
  std::vector<change_log*> logs;
  {
    const std::lock_guard lock(mutex_);
    for (const auto& [catalog, kept] : recorders_) {
      if (change_log* const l = kept->records()) logs.push_back(l);
    }
  }
  for (change_log* const l : logs) {
    // So that what is too old can be dropped where little is written.
    if (l->range().newest_segment_since + within_.age / segments < now) (void)l->rotate();
    for (;;) {
      const change_log::extent e = l->range();
      if (e.segments < 2 || e.oldest_segment_ends_at + within_.age >= now) break;
      if (!l->drop_oldest().ok()) break;
    }
  }
  (void)make_room(0);
}

}  // namespace understudy::history
