#include "agent-failover/history/keeper.hpp"

#include <fmt/core.h>
#include <sys/statvfs.h>

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "common/log/log.hpp"
#include "common/os/spare_space.hpp"
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

// Free bytes beyond those that are left to the copy. A filesystem that does not say has enough.
std::uint64_t free_bytes(const std::string& directory) {
  struct ::statvfs fs {};
  if (::statvfs(directory.c_str(), &fs) != 0) return UINT64_MAX;
  const std::uint64_t all = std::uint64_t{fs.f_blocks} * fs.f_frsize;
  const std::uint64_t free = std::uint64_t{fs.f_bavail} * fs.f_frsize;
  const std::uint64_t spare = os::spare_space(all);
  return free > spare ? free - spare : 0;
}

absl::Status remove_logs(os::file_system& fs, const std::string& directory,
                         const std::vector<std::string>& but) {
  const auto held = fs.open_root(directory);
  if (absl::IsNotFound(held.status())) return absl::OkStatus();
  UNDERSTUDY_RETURN_IF_ERROR(held.status());
  std::vector<std::string> names;
  UNDERSTUDY_RETURN_IF_ERROR((*held)->list([&](const os::directory_entry& e) {
    if (std::find(but.begin(), but.end(), e.name) == but.end()) names.push_back(e.name);
    return true;
  }));
  for (const std::string& name : names)
    UNDERSTUDY_RETURN_IF_ERROR(change_log::remove(fs, fmt::format("{}/{}", directory, name)));
  return absl::OkStatus();
}

}  // namespace

keeper::keeper(os::file_system& fs, std::string server, std::string directory, bounds within)
    : fs_(fs), server_(std::move(server)), directory_(std::move(directory)), within_(within) {
  thread_ = std::thread([this] { run(); });
}

keeper::~keeper() {
  {
    const std::lock_guard lock(bell_->mutex);
    bell_->stopping = true;
    bell_->rung.notify_all();
  }
  thread_.join();
  for (const auto& [catalog, kept] : recorders_) kept->retire();
}

void keeper::bell::ring() {
  const std::lock_guard lock(mutex);
  wanted = true;
  rung.notify_all();
}

std::shared_ptr<recorder> keeper::history_of(const std::string& catalog) {
  const std::lock_guard lock(mutex_);
  auto& kept = recorders_[catalog];
  if (kept == nullptr) {
    recorder::environment given;
    given.server = server_;
    given.catalog = catalog;
    given.wake = [bell = bell_] { bell->ring(); };
    given.make_room = [this](std::uint64_t bytes) { return make_room(bytes); };
    const std::uint64_t segment = std::clamp(within_.bytes / segments, smallest_segment, largest_segment);
    kept = std::make_shared<recorder>(
        std::move(given), [&fs = fs_, place = fmt::format("{}/{}", directory_, catalog), segment] {
          return change_log::open(fs, place, segment);
        });
    bell_->ring();
  }
  return kept;
}

std::shared_ptr<recorder> keeper::find(const std::string& catalog) const {
  const std::lock_guard lock(mutex_);
  const auto found = recorders_.find(catalog);
  return found == recorders_.end() ? nullptr : found->second;
}

void keeper::set_bounds(bounds within) {
  const std::lock_guard lock(mutex_);
  within_ = within;
}

absl::Status keeper::retain(const std::vector<std::string>& catalogs) {
  {
    const std::lock_guard lock(mutex_);
    std::erase_if(recorders_, [&](const auto& one) {
      if (std::find(catalogs.begin(), catalogs.end(), one.first) != catalogs.end()) return false;
      one.second->retire();
      return true;
    });
  }
  return remove_logs(fs_, directory_, catalogs);
}

absl::Status keeper::remove(os::file_system& fs, const std::string& directory) {
  UNDERSTUDY_RETURN_IF_ERROR(remove_logs(fs, directory, {}));
  const auto slash = directory.rfind('/');
  const auto parent = fs.open_root(directory.substr(0, slash));
  if (absl::IsNotFound(parent.status())) return absl::OkStatus();
  UNDERSTUDY_RETURN_IF_ERROR(parent.status());
  const absl::Status removed = (*parent)->remove_directory(directory.substr(slash + 1));
  return absl::IsNotFound(removed) ? absl::OkStatus() : removed;
}

void keeper::run() {
  auto tidy_at = steady_clock::now() + tidy_every;
  for (;;) {
    std::vector<std::shared_ptr<recorder>> all;
    {
      const std::lock_guard ringing(bell_->mutex);
      if (bell_->stopping) return;
      bell_->wanted = false;
    }
    {
      const std::lock_guard lock(mutex_);
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
    std::unique_lock lock(bell_->mutex);
    bell_->rung.wait_until(lock, next, [this] { return bell_->wanted || bell_->stopping; });
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
    std::uint64_t most = 0;
    {
      const std::lock_guard lock(mutex_);
      most = within_.bytes;
      for (const auto& [catalog, kept] : recorders_) {
        if (const change_log* const l = kept->records()) used += l->bytes();
      }
    }
    const bool within = used + bytes <= most;
    if (within && free_bytes(directory_) >= bytes) return true;
    if (!drop_one(within ? "the disk is almost full" : "history.bytes")) return false;
  }
}

void keeper::tidy() {
  const auto now = std::chrono::system_clock::now();
  std::vector<std::shared_ptr<recorder>> all;
  std::chrono::seconds age{};
  {
    const std::lock_guard lock(mutex_);
    age = within_.age;
    for (const auto& [catalog, kept] : recorders_) all.push_back(kept);
  }
  for (const auto& kept : all) {
    change_log* const l = kept->records();
    if (l == nullptr) continue;
    // So that what is too old can be dropped where little is written.
    if (l->range().newest_segment_since + age / segments < now) (void)l->rotate();
    for (;;) {
      const change_log::extent e = l->range();
      if (e.segments < 2 || e.oldest_segment_ends_at + age >= now) break;
      if (!l->drop_oldest().ok()) break;
    }
  }
  (void)make_room(0);
}

}  // namespace understudy::history
