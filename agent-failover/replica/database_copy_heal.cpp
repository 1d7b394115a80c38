// database_copy: a heal into a new file, and the switch to it.
//
// The new file may only take the name when the -wal beside it is empty, for frames of the old database over
// the new one are garbage; and the -wal may only be emptied when the old file holds everything. So: fold
// completely, empty the -wal durably, exchange the two names, sync the directory; at every instant the name
// leads to a whole database with nothing in the -wal.
//
// No frame may follow while anybody has the old file open: a reader opens the database, waits for its lock,
// and only then opens -wal and -shm by name, so it would read new frames over old pages (seen: "malformed",
// and wrong rows, from readers that had waited for our exclusive lock). So the old file is held exclusively
// throughout, and kept under the heal's name, over a crash too, until a write lease proves that nobody else
// has it open. A reader caught there finds the database locked and has to open it anew. Where readers hold a
// lock on the old file and do not go away, the pages that differ are carried through the -wal instead.
//
// The new file has a name of its own until it is complete, so that one that a cut heal left is told from an
// old file; that name is exchanged for the heal's at the last moment.

#include <fcntl.h>
#include <fmt/core.h>

#include <cerrno>
#include <csignal>
#include <thread>
#include <utility>

#include "agent-failover/replica/database_copy.hpp"
#include "common/log/log.hpp"
#include "common/os/byte_lock.hpp"
#include "common/sqlite/wal_format.hpp"
#include "common/status/status_macros.hpp"
#include "common/status/status_text.hpp"

namespace understudy::replica {
namespace {

constexpr std::size_t run_bytes = 1 << 20;
constexpr std::uint64_t writeback_bytes =
    8 << 20;  // the disk starts early, so that the sync at the end is short
constexpr std::uint64_t sync_bytes = 256 << 20;  // more is not brought twice after a power cut
constexpr std::uint64_t skipped_pages =
    1 << 20;  // that a heal may leave out for later, as the source changes them: 16 MiB of hashes

}  // namespace

absl::Status database_copy::write_run() {
  new_file& f = *new_file_;
  if (f.run.empty()) return absl::OkStatus();
  UNDERSTUDY_RETURN_IF_ERROR(
      f.file->write_at(std::as_bytes(std::span(f.run)), std::uint64_t{f.run_first - 1} * f.page_size));
  f.unflushed += f.run.size();
  f.unsynced += f.run.size();
  f.run.clear();
  if (f.unsynced >= sync_bytes) {
    UNDERSTUDY_RETURN_IF_ERROR(f.file->sync_data());
    f.unsynced = f.unflushed = 0;
  }
  if (f.unflushed >= writeback_bytes) {
    // A hint only; what counts is the sync before the switch.
    (void)::sync_file_range(f.file->descriptor(), 0, 0, SYNC_FILE_RANGE_WRITE);
    f.unflushed = 0;
  }
  return absl::OkStatus();
}

absl::Status database_copy::add_to_new_file(std::span<const channel::page_image> pages) {
  new_file& f = *new_file_;
  for (const auto& p : pages) {
    if (p.number == sqlite::lock_page(f.page_size)) continue;
    if (p.number > std::uint64_t{hashes_.size()} + f.brought_pages + skipped_pages) {
      return absl::InvalidArgumentError(fmt::format("copy {}: page {} after {} pages, {} are present", name_,
                                                    p.number, f.brought_pages, hashes_.size()));
    }
    if (f.run.size() >= run_bytes || f.run_first + f.run.size() / f.page_size != p.number) {
      UNDERSTUDY_RETURN_IF_ERROR(write_run());
      f.run_first = p.number;
    }
    f.run += p.bytes;
    f.hashes.set(p.number, sqlite::hash_page(p.number, std::as_bytes(std::span(p.bytes))));
    if (f.brought.size() < p.number) f.brought.resize(p.number);
    if (!f.brought[p.number - 1]) ++f.brought_pages;
    f.brought[p.number - 1] = true;
  }
  return absl::OkStatus();
}

absl::Status database_copy::complete_new_file(std::uint32_t database_pages,
                                              const sqlite::page_hash& hash_after) {
  new_file& f = *new_file_;
  const auto refuse = [&](absl::Status why) {
    discard_unfinished();
    return why;
  };
  const std::uint32_t kept_pages = exists_ && f.page_size == page_size_ ? durable_pages_ : 0;
  if (absl::Status size = check_size(database_pages, kept_pages, f.brought_pages); !size.ok())
    return refuse(std::move(size));
  f.hashes.resize(database_pages);
  f.brought.resize(database_pages);
  f.through_the_wal = kept_pages > 0 && f.brought_pages <= std::max(durable_pages_, database_pages) / 4;
  if (kept_pages > 0) {
    channel::page_image kept{.number = 0, .bytes = std::string(page_size_, '\0')};
    for (std::uint32_t n = 1; n <= std::min(database_pages, kept_pages); ++n) {
      if (f.brought[n - 1] || n == sqlite::lock_page(page_size_) || hashes_.at(n) == sqlite::page_hash{})
        continue;
      if (f.through_the_wal) {
        f.hashes.set(n, hashes_.at(n));
        continue;
      }
      kept.number = n;
      UNDERSTUDY_RETURN_IF_ERROR(read_stored(n, std::as_writable_bytes(std::span(kept.bytes))));
      UNDERSTUDY_RETURN_IF_ERROR(add_to_new_file({&kept, 1}));
    }
  }
  UNDERSTUDY_RETURN_IF_ERROR(write_run());
  if (f.hashes.combined() != hash_after) {
    return refuse(
        absl::DataLossError(fmt::format("copy {}: the heal does not give the hash announced", name_)));
  }
  if (!f.through_the_wal)
    UNDERSTUDY_RETURN_IF_ERROR(f.file->truncate(std::uint64_t{database_pages} * f.page_size));
  f.complete = true;
  return absl::OkStatus();
}

absl::Status database_copy::switch_to_new_file() {
  if (new_file_->through_the_wal) return carry_new_file_through_wal();
  UNDERSTUDY_RETURN_IF_ERROR(new_file_->file->sync_data());
  if (exists_) {
    if (const absl::Status alone = lock_exclusively(); !alone.ok()) {
      if (!absl::IsFailedPrecondition(alone) || new_file_->page_size != page_size_) return alone;
      log::warning(name_, "{}; the heal goes through its -wal", message_of(alone));
      return carry_new_file_through_wal();
    }
  }
  UNDERSTUDY_RETURN_IF_ERROR(broken(replace_database(*directory_, heal_name())));
  return release_retired();
}

absl::Status database_copy::hold_alone() {
  UNDERSTUDY_RETURN_IF_ERROR(usable());
  if (!exists_ || alone_) return absl::OkStatus();
  abandon();
  UNDERSTUDY_RETURN_IF_ERROR(commit_durably());
  UNDERSTUDY_RETURN_IF_ERROR(lock_exclusively());
  alone_ = true;
  return absl::OkStatus();
}

void database_copy::let_in() {
  if (std::exchange(alone_, false) && database_ != nullptr) unlock_to_shared();
}

absl::Status database_copy::exchange_with(os::directory& from, const std::string& name,
                                          std::uint32_t page_size, sqlite::page_hash_array hashes,
                                          std::chrono::system_clock::time_point committed_at) {
  UNDERSTUDY_RETURN_IF_ERROR(hold_alone());
  discard_unfinished();
  auto made = std::make_unique<new_file>();
  auto file = from.open(name, os::open_mode::read_write);
  if (!file.ok()) {
    let_in();
    return file.status();
  }
  made->file = *std::move(file);
  made->page_size = page_size;
  made->hashes = std::move(hashes);
  new_file_ = std::move(made);
  captured_at_ = committed_at;
  UNDERSTUDY_RETURN_IF_ERROR(broken(replace_database(from, name)));
  alone_ = false;
  retired_is_kept_ = true;
  // Whoever waits to read the old file is in the way of frames to come, not of the exchange.
  const absl::Status released = release_retired(std::chrono::milliseconds(0));
  return absl::IsUnavailable(released) ? absl::OkStatus() : released;
}

absl::Status database_copy::replace_database(os::directory& from, const std::string& name) {
  // By inode, so that it is held before the name leads to it.
  UNDERSTUDY_RETURN_IF_ERROR(os::lock_within(new_file_->file->descriptor(), os::lock_mode::shared,
                                             sqlite::db_shared_first, sqlite::db_shared_size,
                                             options_.patience, fmt::format("copy {}", name)));
  UNDERSTUDY_ASSIGN_OR_RETURN(const struct ::stat identity, new_file_->file->status());
  if (!exists_) {
    bool created = false;
    UNDERSTUDY_ASSIGN_OR_RETURN(wal_, copy_wal::open(*directory_, wal_name(), identity, created));
    UNDERSTUDY_ASSIGN_OR_RETURN(index_, wal_index::open(*directory_, shm_name(), identity));
  }
  UNDERSTUDY_RETURN_IF_ERROR(
      index_->lock(sqlite::shm_lock_write, 1, os::lock_mode::exclusive, options_.patience));
  const index_lock writing(*index_, sqlite::shm_lock_write);
  if (exists_) {
    UNDERSTUDY_ASSIGN_OR_RETURN(const bool untouched, is_untouched());
    if (!untouched) UNDERSTUDY_RETURN_IF_ERROR(wal_->recover());
    must_fold_ = true;
    const absl::Status folded = fold_under_write_lock();
    must_fold_ = false;
    UNDERSTUDY_RETURN_IF_ERROR(folded);
    if (wal_->end().frame > 0) {
      return absl::UnavailableError(
          fmt::format("copy {}: cannot be folded, {} is in the way", name_, figures_.fold_blocked_by));
    }
  }
  // The -wal exists, is empty of frames, and durably so, before the database does. Its name must be durable
  // too: commits that follow are acknowledged on the strength of it.
  UNDERSTUDY_RETURN_IF_ERROR(wal_->clear());
  UNDERSTUDY_RETURN_IF_ERROR(index_->invalidate());
  UNDERSTUDY_RETURN_IF_ERROR(directory_->sync());
  if (database_ == nullptr && directory_->status(name_).ok()) {
    UNDERSTUDY_ASSIGN_OR_RETURN(database_, directory_->open(name_, os::open_mode::read_write));
  }
  if (&from == directory_.get())
    UNDERSTUDY_RETURN_IF_ERROR(from.rename(unfinished_name(), from, name, os::rename_mode::replace));
  UNDERSTUDY_RETURN_IF_ERROR(from.rename(
      name, *directory_, name_, database_ != nullptr ? os::rename_mode::exchange : os::rename_mode::replace));
  UNDERSTUDY_RETURN_IF_ERROR(directory_->sync());
  if (&from != directory_.get()) UNDERSTUDY_RETURN_IF_ERROR(from.sync());

  observed_image former = exists_ ? image() : observed_image{};
  std::vector<std::uint32_t> different;
  if (options_.observer) {
    const bool same_size = page_size_ == new_file_->page_size;
    for (std::uint32_t n = 1; n <= durable_pages_; ++n) {
      const bool kept =
          same_size && n <= new_file_->hashes.size() && hashes_.at(n) == new_file_->hashes.at(n);
      if (!kept) different.push_back(n);
    }
  }
  retired_ = std::exchange(database_, std::move(new_file_->file));
  identity_ = identity;
  hashes_ = std::move(new_file_->hashes);
  page_size_ = new_file_->page_size;
  new_file_.reset();
  durable_pages_ = hashes_.size();
  durable_register_ = hashes_.combined();
  folded_ = 0;
  next_own_fold_ = 0;
  exists_ = true;
  if (options_.observer) {
    options_.observer->replaced(std::move(former), image(), std::move(different), captured_at_);
  }
  return absl::OkStatus();
}

absl::Status database_copy::release_retired() {
  return release_retired(options_.patience);
}

absl::Status database_copy::release_retired(std::chrono::milliseconds patience) {
  if (retired_ == nullptr) return absl::OkStatus();
  const int fd = retired_->descriptor();
  // SIGURG is ignored by default; SIGIO, which a broken lease sends otherwise, would end the process.
  (void)::fcntl(fd, F_SETSIG, SIGURG);
  const auto deadline = std::chrono::steady_clock::now() + patience;
  while (::fcntl(fd, F_SETLEASE, F_WRLCK) != 0) {
    const bool unsupported = errno != EAGAIN && errno != EINTR;
    if (std::chrono::steady_clock::now() < deadline) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
      continue;
    }
    // Without leases: waiters have had as long to give up as we can give them.
    if (unsupported) break;
    return absl::UnavailableError(fmt::format(
        "copy {}: a program that read it still has the replaced file open; it has to close it", name_));
  }
  (void)::fcntl(fd, F_SETLEASE, F_UNLCK);
  if (!retired_is_kept_) UNDERSTUDY_RETURN_IF_ERROR(directory_->remove_file(heal_name()));
  retired_is_kept_ = false;
  retired_.reset();
  return absl::OkStatus();
}

absl::Status database_copy::carry_new_file_through_wal() {
  const std::unique_ptr<new_file> f = std::move(new_file_);
  const std::uint32_t pages = f->hashes.size();
  std::string page(f->page_size, '\0');
  const auto carry = [&]() -> absl::Status {
    healing_ = true;
    for (std::uint32_t n = 1; n <= pages; ++n) {
      if (f->hashes.at(n) == (n <= hashes_.size() ? hashes_.at(n) : sqlite::page_hash{})) continue;
      UNDERSTUDY_RETURN_IF_ERROR(
          f->file->read_at(std::as_writable_bytes(std::span(page)), std::uint64_t{n - 1} * f->page_size)
              .status());
      UNDERSTUDY_RETURN_IF_ERROR(add_frame(n, page));
    }
    return end_pending(pages, f->hashes.combined(), 0);
  };
  const absl::Status carried = carry();
  (void)directory_->remove_file(unfinished_name());
  if (!carried.ok()) {
    abandon();
    return carried;
  }
  return commit_durably();
}

}  // namespace understudy::replica
