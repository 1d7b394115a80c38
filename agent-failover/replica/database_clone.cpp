#include "agent-failover/replica/database_clone.hpp"

#include <fmt/core.h>

#include <array>
#include <optional>
#include <utility>
#include <vector>

#include "agent-failover/replica/copy_wal.hpp"
#include "agent-failover/replica/wal_index.hpp"
#include "common/os/byte_lock.hpp"
#include "common/sqlite/wal_format.hpp"
#include "common/status/status_macros.hpp"

namespace understudy::replica {
namespace {

constexpr std::chrono::milliseconds patience{5000};  // for a checkpoint or a commit under way

// Database file and -wal, held so that neither what is in the file nor the frames committed by now change.
struct held_image {
  std::unique_ptr<os::file> database;
  std::unique_ptr<wal_index> index;
  std::unique_ptr<copy_wal> wal;
};

absl::StatusOr<held_image> hold(os::directory& from, const std::string& name) {
  held_image held;
  UNDERSTUDY_ASSIGN_OR_RETURN(held.database, from.open(name, os::open_mode::read));
  UNDERSTUDY_RETURN_IF_ERROR(os::lock_within(held.database->descriptor(), os::lock_mode::shared,
                                             sqlite::db_shared_first, sqlite::db_shared_size, patience,
                                             name));
  const auto journal = from.status(name + "-journal");
  if (journal.ok() && journal->st_size > 0 &&
      os::lock_holder(held.database->descriptor(), sqlite::db_reserved_byte).empty()) {
    return absl::FailedPreconditionError(
        fmt::format("{}: its rollback journal has to be played back first", name));
  }
  const auto log = from.status(name + "-wal");
  if (absl::IsNotFound(log.status())) return held;
  UNDERSTUDY_RETURN_IF_ERROR(log.status());
  if (log->st_size == 0) return held;
  UNDERSTUDY_ASSIGN_OR_RETURN(const struct ::stat like, held.database->status());
  UNDERSTUDY_ASSIGN_OR_RETURN(held.index, wal_index::open(from, name + "-shm", like));
  // No checkpoint writes to the database file, and (a reader's slot) nobody starts the -wal over.
  UNDERSTUDY_RETURN_IF_ERROR(
      held.index->lock(sqlite::shm_lock_checkpoint, 1, os::lock_mode::exclusive, patience));
  UNDERSTUDY_RETURN_IF_ERROR(held.index->lock(sqlite::shm_lock_read4, 1, os::lock_mode::shared, patience));
  UNDERSTUDY_ASSIGN_OR_RETURN(held.wal, copy_wal::open_to_read(from, name + "-wal"));
  UNDERSTUDY_RETURN_IF_ERROR(held.wal->recover());
  return held;
}

}  // namespace

absl::Status clone_database(os::directory& from, const std::string& name, os::directory& to,
                            const std::string& to_name, const os::copy_progress& progress) {
  UNDERSTUDY_ASSIGN_OR_RETURN(const held_image held, hold(from, name));
  UNDERSTUDY_ASSIGN_OR_RETURN(const struct ::stat like, held.database->status());
  const std::string unfinished = to_name + "-clone";
  if (to.status(to_name).ok()) return absl::AlreadyExistsError(fmt::format("{} exists", to_name));
  UNDERSTUDY_ASSIGN_OR_RETURN(const auto clone,
                              to.open(unfinished, os::open_mode::create, like.st_mode & 0777));
  UNDERSTUDY_RETURN_IF_ERROR(clone->clone_from(*held.database, progress));
  if (held.wal != nullptr && held.wal->end().frame > 0) {
    std::vector<std::byte> page(held.wal->page_size());
    for (const auto& [number, frame] : held.wal->newest(0, held.wal->end().frame)) {
      if (number > held.wal->end().database_pages) continue;
      UNDERSTUDY_RETURN_IF_ERROR(held.wal->read_page(frame, page));
      UNDERSTUDY_RETURN_IF_ERROR(clone->write_at(page, std::uint64_t{number - 1} * page.size()));
    }
    UNDERSTUDY_RETURN_IF_ERROR(clone->truncate(std::uint64_t{held.wal->end().database_pages} * page.size()));
  }
  UNDERSTUDY_RETURN_IF_ERROR(clone->sync_data());
  UNDERSTUDY_RETURN_IF_ERROR(to.rename(unfinished, to, to_name, os::rename_mode::no_replace));
  return to.sync();
}

}  // namespace understudy::replica
