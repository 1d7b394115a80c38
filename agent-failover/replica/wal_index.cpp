#include "agent-failover/replica/wal_index.hpp"

#include <fmt/core.h>

#include <array>
#include <cstring>
#include <utility>

#include "common/sqlite/wal_format.hpp"
#include "common/status/status_macros.hpp"

namespace understudy::replica {
namespace {

constexpr std::chrono::milliseconds open_patience{
    5000};  // a reader's first open holds byte 128 for microseconds

}  // namespace

absl::StatusOr<std::unique_ptr<wal_index>> wal_index::open(os::directory& directory, const std::string& name,
                                                           const struct ::stat& like) {
  const bool created = absl::IsNotFound(directory.status(name).status());
  UNDERSTUDY_ASSIGN_OR_RETURN(auto file, directory.open(name, os::open_mode::create, like.st_mode & 0777));
  if (created) {
    UNDERSTUDY_RETURN_IF_ERROR(file->set_mode(like.st_mode & 0777));
    UNDERSTUDY_ASSIGN_OR_RETURN(const struct ::stat now, file->status());
    if (now.st_uid != like.st_uid || now.st_gid != like.st_gid) {
      UNDERSTUDY_RETURN_IF_ERROR(file->set_owner(like.st_uid, like.st_gid));
    }
  }
  std::unique_ptr<wal_index> opened(new wal_index(std::move(file)));
  // Alone: what a crash left in it means nothing (this is what SQLite does at its first open).
  UNDERSTUDY_ASSIGN_OR_RETURN(const bool alone,
                              opened->try_lock(sqlite::shm_lock_dms, os::lock_mode::exclusive));
  if (alone) UNDERSTUDY_RETURN_IF_ERROR(opened->file_->truncate(0));
  UNDERSTUDY_RETURN_IF_ERROR(opened->lock(sqlite::shm_lock_dms, 1, os::lock_mode::shared, open_patience));
  return opened;
}

absl::Status wal_index::lock(int first, int count, os::lock_mode mode, std::chrono::milliseconds patience) {
  return os::lock_within(file_->descriptor(), mode, first, count, patience,
                         fmt::format("wal-index lock byte {} of the copy", first));
}

absl::StatusOr<bool> wal_index::try_lock(int first, os::lock_mode mode, int count) {
  return os::try_lock(file_->descriptor(), mode, first, count);
}

void wal_index::unlock(int first, int count) {
  (void)os::try_lock(file_->descriptor(), os::lock_mode::none, first, count);
}

std::string wal_index::holder(int first) const {
  return os::lock_holder(file_->descriptor(), first);
}

absl::StatusOr<std::uint32_t> wal_index::read_mark(int slot) {
  std::array<std::byte, 4> bytes{};
  const std::uint64_t offset = sqlite::wal_index_ckpt_info_offset + 4 + 4 * static_cast<std::uint64_t>(slot);
  UNDERSTUDY_RETURN_IF_ERROR(file_->read_at(bytes, offset).status());
  std::uint32_t mark;
  std::memcpy(&mark, bytes.data(), sizeof mark);
  return mark;
}

absl::Status wal_index::invalidate() {
  constexpr std::array<std::byte, 2 * sqlite::wal_index_header_bytes> zeros{};
  return file_->write_at(zeros, 0);
}

bool wal_index::is_linked() {
  const auto s = file_->status();
  return s.ok() && s->st_nlink > 0;
}

}  // namespace understudy::replica
