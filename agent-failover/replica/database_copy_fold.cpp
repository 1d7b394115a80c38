// database_copy: folding the -wal into the database file, by SQLite's checkpoint protocol (wal.c,
// walCheckpoint).

#include <fmt/core.h>

#include <algorithm>
#include <utility>

#include "agent-failover/replica/database_copy.hpp"
#include "common/sqlite/wal_format.hpp"
#include "common/status/status_macros.hpp"

namespace understudy::replica {
namespace {

constexpr std::chrono::milliseconds reader_patience{
    100};  // for locks that a reader may hold for its whole query
constexpr std::size_t run_bytes = 1 << 20;
constexpr std::uint32_t retry_frames =
    256;  // a blocked fold is tried again when the -wal has grown by this much

}  // namespace

absl::Status database_copy::fold_if_due() {
  UNDERSTUDY_RETURN_IF_ERROR(usable());
  if (!exists_ || wal_->bytes() < options_.fold_bytes || wal_->end().frame < next_own_fold_)
    return absl::OkStatus();
  return fold();
}

absl::Status database_copy::fold() {
  UNDERSTUDY_RETURN_IF_ERROR(usable());
  // Only what is durable in the -wal may reach the database file.
  if (!exists_ || wal_->has_unsynced()) return absl::OkStatus();
  UNDERSTUDY_RETURN_IF_ERROR(
      index_->lock(sqlite::shm_lock_write, 1, os::lock_mode::exclusive, options_.patience));
  std::optional<index_lock> writing(std::in_place, *index_, sqlite::shm_lock_write);
  UNDERSTUDY_ASSIGN_OR_RETURN(const bool untouched, is_untouched());
  if (!untouched) {
    if (const absl::Status survived = reconcile(); !survived.ok()) {
      writing.reset();
      UNDERSTUDY_RETURN_IF_ERROR(broken(load(false)));
      return survived;
    }
  }
  return fold_under_write_lock();
}

absl::Status database_copy::fold_under_write_lock() {
  const std::uint32_t end = wal_->end().frame;
  if (end == 0) return absl::OkStatus();
  next_own_fold_ = end + retry_frames;
  const auto blocked = [&](int byte) {
    figures_.fold_blocked_by = index_->holder(byte);
    if (figures_.fold_blocked_by.empty()) figures_.fold_blocked_by = "another process";
    return absl::OkStatus();
  };
  if (!index_->lock(sqlite::shm_lock_checkpoint, 1, os::lock_mode::exclusive, reader_patience).ok()) {
    return blocked(sqlite::shm_lock_checkpoint);
  }
  const index_lock folding(*index_, sqlite::shm_lock_checkpoint);

  UNDERSTUDY_ASSIGN_OR_RETURN(std::uint32_t safe, safe_frame());
  if (options_.observer && safe > folded_) {
    const std::uint32_t recorded = options_.observer->may_fold(end, must_fold_);
    if (recorded < safe) figures_.fold_blocked_by = "the log of its history";
    safe = std::min(safe, recorded);
  }
  if (safe > folded_) {
    // A reader in slot 0 reads the database file alone and must not see it change.
    if (!index_->lock(sqlite::shm_lock_read0, 1, os::lock_mode::exclusive, reader_patience).ok()) {
      return blocked(sqlite::shm_lock_read0);
    }
    const index_lock alone(*index_, sqlite::shm_lock_read0);
    UNDERSTUDY_RETURN_IF_ERROR(broken(write_back(safe)));
    folded_ = safe;
  }
  if (folded_ < end) return absl::OkStatus();

  constexpr int slots = sqlite::shm_lock_read4 - sqlite::shm_lock_read0;
  UNDERSTUDY_ASSIGN_OR_RETURN(const bool none_reads,
                              index_->try_lock(sqlite::shm_lock_read0 + 1, os::lock_mode::exclusive, slots));
  if (!none_reads) {
    for (int slot = 1; slot <= slots; ++slot) {
      if (!index_->holder(sqlite::shm_lock_read0 + slot).empty())
        return blocked(sqlite::shm_lock_read0 + slot);
    }
    return blocked(sqlite::shm_lock_read0 + 1);
  }
  const index_lock all_slots(*index_, sqlite::shm_lock_read0 + 1, slots);
  // The index first: nobody may take its frame numbers for those of the generation that starts now.
  UNDERSTUDY_RETURN_IF_ERROR(broken(index_->invalidate()));
  if (options_.observer) options_.observer->restarted();
  UNDERSTUDY_RETURN_IF_ERROR(broken(wal_->restart()));
  folded_ = 0;
  next_own_fold_ = 0;
  ++figures_.folds;
  figures_.fold_blocked_by.clear();
  return absl::OkStatus();
}

// The last frame that no present reader objects to. A reader that comes later starts at the end.
absl::StatusOr<std::uint32_t> database_copy::safe_frame() {
  std::uint32_t safe = wal_->end().frame;
  for (int slot = 1; slot <= sqlite::shm_lock_read4 - sqlite::shm_lock_read0; ++slot) {
    const int byte = sqlite::shm_lock_read0 + slot;
    UNDERSTUDY_ASSIGN_OR_RETURN(const bool unused, index_->try_lock(byte, os::lock_mode::exclusive));
    if (unused) {
      index_->unlock(byte);
      continue;
    }
    UNDERSTUDY_ASSIGN_OR_RETURN(const std::uint32_t mark, index_->read_mark(slot));
    if (mark < safe) {
      safe = mark;
      figures_.fold_blocked_by = index_->holder(byte);
    }
  }
  return safe;
}

absl::Status database_copy::write_back(std::uint32_t upto) {
  const std::uint32_t pages = wal_->end().database_pages;
  const auto newest = wal_->newest(folded_, upto);
  std::vector<std::pair<std::uint32_t, std::uint32_t>> work;
  work.reserve(newest.size());
  for (const auto& [page, frame] : newest) {
    if (page <= pages) work.emplace_back(page, frame);
  }
  std::sort(work.begin(), work.end());
  std::vector<std::byte> run;
  for (std::size_t i = 0; i < work.size();) {
    const std::uint32_t first = work[i].first;
    run.clear();
    for (; i < work.size() && work[i].first == first + run.size() / page_size_ && run.size() < run_bytes;
         ++i) {
      run.resize(run.size() + page_size_);
      UNDERSTUDY_RETURN_IF_ERROR(wal_->read_page(work[i].second, std::span(run).last(page_size_)));
    }
    UNDERSTUDY_RETURN_IF_ERROR(database_->write_at(run, std::uint64_t{first - 1} * page_size_));
  }
  if (upto == wal_->end().frame) {
    UNDERSTUDY_ASSIGN_OR_RETURN(const struct ::stat s, database_->status());
    const std::uint64_t size = std::uint64_t{pages} * page_size_;
    if (static_cast<std::uint64_t>(s.st_size) != size) UNDERSTUDY_RETURN_IF_ERROR(database_->truncate(size));
  }
  return database_->sync_data();
}

}  // namespace understudy::replica
