#include "agent-failover/replica/database_copy.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <utility>

#include "common/log/log.hpp"
#include "common/os/byte_lock.hpp"
#include "common/sqlite/database.hpp"
#include "common/sqlite/wal_format.hpp"
#include "common/status/status_macros.hpp"
#include "common/status/status_text.hpp"

namespace understudy::replica {
namespace {

constexpr std::size_t read_ahead_bytes = 1 << 20;

}  // namespace

database_copy::database_copy(std::unique_ptr<os::directory> directory, std::string name, copy_options options)
    : directory_(std::move(directory)), name_(std::move(name)), options_(options) {}

database_copy::~database_copy() {
  if (options_.observer) options_.observer->released();
}

absl::StatusOr<std::unique_ptr<database_copy>> database_copy::open(std::unique_ptr<os::directory> directory,
                                                                   std::string name, copy_options options) {
  std::unique_ptr<database_copy> copy(new database_copy(std::move(directory), std::move(name), options));
  UNDERSTUDY_RETURN_IF_ERROR(copy->load(false));
  return copy;
}

void database_copy::let_go() {
  if (options_.observer) options_.observer->released();
  notes_.clear();
  new_file_.reset();
  retired_.reset();
  retired_is_kept_ = false;
  alone_ = false;
  wal_.reset();
  index_.reset();
  database_.reset();
  ended_.clear();
  pending_.clear();
  pending_hashes_.clear();
  pending_bytes_ = 0;
  healing_ = false;
  must_publish_ = false;
  exists_ = false;
  page_size_ = 0;
  hashes_.clear();
  durable_pages_ = 0;
  durable_register_ = {};
  folded_ = 0;
  next_own_fold_ = 0;
}

// A stand-in in rollback mode that was killed leaves its journal. Only SQLite itself may judge and play it
// back, and it may do so here because no descriptor of ours is open on the copy yet.
absl::Status database_copy::roll_back_hot_journal() {
  const std::string journal = name_ + "-journal";
  const auto found = directory_->status(journal);
  if (!found.ok()) return absl::IsNotFound(found.status()) ? absl::OkStatus() : found.status();
  if (found->st_size == 0) return absl::OkStatus();
  const std::string path = fmt::format("/proc/self/fd/{}/{}", directory_->descriptor(), name_);
  UNDERSTUDY_ASSIGN_OR_RETURN(auto d, sqlite::database::open(path, {.create = false}));
  return d.execute("PRAGMA schema_version");
}

absl::Status database_copy::load(bool alone) {
  absl::Status loaded = load_files(alone);
  if (loaded.ok()) loaded = load_unfinished();
  if (!loaded.ok()) let_go();
  return loaded;
}

absl::Status database_copy::load_files(bool alone) {
  let_go();
  broken_ = absl::OkStatus();
  // Either a heal that did not end, or what one replaced: then a reader may have it open still.
  if (directory_->status(heal_name()).ok()) {
    UNDERSTUDY_ASSIGN_OR_RETURN(retired_, directory_->open(heal_name(), os::open_mode::read_write));
    UNDERSTUDY_RETURN_IF_ERROR(release_retired());
  }
  const auto named = directory_->status(name_);
  if (absl::IsNotFound(named.status()) || (named.ok() && named->st_size == 0)) return absl::OkStatus();
  UNDERSTUDY_RETURN_IF_ERROR(named.status());
  UNDERSTUDY_RETURN_IF_ERROR(roll_back_hot_journal());

  UNDERSTUDY_ASSIGN_OR_RETURN(database_, directory_->open(name_, os::open_mode::read_write));
  UNDERSTUDY_ASSIGN_OR_RETURN(identity_, database_->status());
  if (alone) UNDERSTUDY_RETURN_IF_ERROR(lock_exclusively());
  UNDERSTUDY_RETURN_IF_ERROR(os::lock_within(database_->descriptor(), os::lock_mode::shared,
                                             sqlite::db_shared_first, sqlite::db_shared_size,
                                             options_.patience, fmt::format("copy {}", name_)));
  if (alone) unlock_to_shared();
  std::array<std::byte, 100> head{};
  UNDERSTUDY_ASSIGN_OR_RETURN(const std::size_t n, database_->read_at(head, 0));
  const auto header = n == head.size() ? sqlite::parse_database_header(head) : std::nullopt;
  if (!header) {
    log::warning(name_, "the copy is not a database; the next heal replaces it");
    let_go();
    return absl::OkStatus();
  }
  page_size_ = header->page_size;

  bool created = false;
  UNDERSTUDY_ASSIGN_OR_RETURN(wal_, copy_wal::open(*directory_, wal_name(), identity_, created));
  UNDERSTUDY_ASSIGN_OR_RETURN(index_, wal_index::open(*directory_, shm_name(), identity_));
  // What is acknowledged in the -wal is durable only if its name is.
  if (created) UNDERSTUDY_RETURN_IF_ERROR(directory_->sync());
  UNDERSTUDY_RETURN_IF_ERROR(
      index_->lock(sqlite::shm_lock_write, 1, os::lock_mode::exclusive, options_.patience));
  {
    const index_lock writing(*index_, sqlite::shm_lock_write);
    UNDERSTUDY_RETURN_IF_ERROR(wal_->recover());
    if (wal_->page_size() != page_size_) {
      if (wal_->end().frame > 0) {
        log::warning(name_, "the copy's -wal has another page size; the next heal replaces it");
        let_go();
        return absl::OkStatus();
      }
      UNDERSTUDY_RETURN_IF_ERROR(wal_->clear());
    }
    UNDERSTUDY_RETURN_IF_ERROR(database_->sync_data());
    UNDERSTUDY_RETURN_IF_ERROR(index_->invalidate());
  }
  UNDERSTUDY_RETURN_IF_ERROR(hash_everything());
  durable_pages_ = hashes_.size();
  durable_register_ = hashes_.combined();
  exists_ = true;
  observe_opened();
  return absl::OkStatus();
}

absl::Status database_copy::hash_everything() {
  UNDERSTUDY_ASSIGN_OR_RETURN(const struct ::stat s, database_->status());
  const auto stored = static_cast<std::uint32_t>(static_cast<std::uint64_t>(s.st_size) / page_size_);
  std::uint32_t pages = wal_->end().database_pages;
  if (wal_->end().frame == 0) {
    std::array<std::byte, 100> head{};
    UNDERSTUDY_RETURN_IF_ERROR(database_->read_at(head, 0).status());
    const auto header = sqlite::parse_database_header(head);
    pages = stored;
    // SQLite's own rule (fileformat2.html, "In-header database size"); a header that claims more than the
    // file has is malformed to SQLite, and came from the other end.
    if (header && header->pages != 0 && header->change_counter == header->version_valid_for)
      pages = std::min(header->pages, stored);
  }
  sqlite::page_hash_array fresh;
  fresh.resize(pages);
  const std::uint32_t skipped = sqlite::lock_page(page_size_);
  std::vector<std::byte> buffer(std::max<std::size_t>(read_ahead_bytes, page_size_));
  const auto at_once = static_cast<std::uint32_t>(buffer.size() / page_size_);
  std::vector<std::byte> logged(page_size_);
  for (std::uint32_t first = 1; first <= pages; first += std::min(at_once, pages - first + 1)) {
    UNDERSTUDY_ASSIGN_OR_RETURN(const std::size_t n,
                                database_->read_at(buffer, std::uint64_t{first - 1} * page_size_));
    const std::uint32_t count = std::min(at_once, pages - first + 1);
    for (std::uint32_t i = 0; i < count; ++i) {
      const std::uint32_t page = first + i;
      if (page == skipped) continue;
      if (const auto frame = wal_->find(page)) {
        UNDERSTUDY_RETURN_IF_ERROR(wal_->read_page(*frame, logged));
        fresh.set(page, sqlite::hash_page(page, logged));
      } else if ((std::size_t{i} + 1) * page_size_ <= n) {
        fresh.set(page, sqlite::hash_page(
                            page, std::span(buffer).subspan(std::size_t{i} * page_size_, page_size_)));
      }
    }
  }
  hashes_ = std::move(fresh);
  return absl::OkStatus();
}

absl::Status database_copy::usable() const {
  if (standing_in_) {
    return absl::FailedPreconditionError(fmt::format("copy {}: handed to the stand-in", name_));
  }
  return broken_;
}

absl::Status database_copy::broken(absl::Status why) {
  if (!why.ok()) broken_ = why;
  return why;
}

// Read under the WRITE lock: nobody changes any of it legitimately then.
absl::StatusOr<bool> database_copy::is_untouched() {
  const auto named = directory_->status(name_);
  if (absl::IsNotFound(named.status())) return false;
  UNDERSTUDY_RETURN_IF_ERROR(named.status());
  if (named->st_ino != identity_.st_ino || named->st_dev != identity_.st_dev) return false;
  const auto log = directory_->status(wal_name());
  if (!log.ok() || !index_->is_linked()) return false;
  return wal_->is_untouched();
}

// Called with the WRITE lock held, when something was touched. Ok: it was a checkpoint, the content is what
// it was, and what is waiting can be appended. kFailedPrecondition: the content was changed.
absl::Status database_copy::reconcile() {
  const auto changed = [&] {
    ++figures_.foreign_writes;
    return absl::FailedPreconditionError(
        fmt::format("copy {}: another program wrote to it or replaced it; it has to be healed. Open copies "
                    "with sqlite3 -readonly",
                    name_));
  };
  const auto named = directory_->status(name_);
  if (!named.ok() || named->st_ino != identity_.st_ino || !index_->is_linked() ||
      !directory_->status(wal_name()).ok() || wal_->has_unsynced()) {
    return changed();
  }
  sqlite::page_hash_array expected = std::move(hashes_);
  UNDERSTUDY_RETURN_IF_ERROR(wal_->recover());
  folded_ = 0;
  next_own_fold_ = 0;
  if (wal_->page_size() != page_size_) {
    if (wal_->end().frame > 0) return changed();
    UNDERSTUDY_RETURN_IF_ERROR(wal_->clear());
  }
  UNDERSTUDY_RETURN_IF_ERROR(hash_everything());
  if (hashes_.combined() != durable_register_ || hashes_.size() != durable_pages_) return changed();
  hashes_ = std::move(expected);
  observe_opened();
  ++figures_.foreign_checkpoints;
  log::info(name_, "another program checkpointed the copy; nothing was lost");
  return index_->invalidate();
}

absl::Status database_copy::commit_durably() {
  UNDERSTUDY_RETURN_IF_ERROR(usable());
  if (new_file_ != nullptr && new_file_->complete) return switch_to_new_file();
  UNDERSTUDY_RETURN_IF_ERROR(release_retired());
  if (ended_.empty() && !must_publish_ &&
      (wal_ == nullptr || !wal_->has_unsynced() || wal_->has_uncommitted())) {
    return absl::OkStatus();
  }
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
  must_publish_ = true;
  const std::uint32_t end_before = wal_->end().frame;
  UNDERSTUDY_RETURN_IF_ERROR(broken(wal_->write(ended_, page_size_)));
  ended_.clear();
  UNDERSTUDY_RETURN_IF_ERROR(broken(wal_->sync()));
  durable_pages_ = hashes_.size();
  durable_register_ = hashes_.combined();
  if (options_.observer) observe_commits(end_before);
  UNDERSTUDY_RETURN_IF_ERROR(broken(index_->invalidate()));
  must_publish_ = false;
  return absl::OkStatus();
}

observed_image database_copy::image() const {
  return {.database = database_,
          .wal = wal_ != nullptr ? wal_->file() : nullptr,
          .page_size = page_size_,
          .database_pages = durable_pages_,
          .combined = durable_register_};
}

void database_copy::observe_opened() const {
  if (!options_.observer) return;
  const auto frames = wal_->pages(0, wal_->end().frame);
  std::vector<found_commit> commits;
  for (const auto& [frame, pages] : wal_->commits()) {
    if (frame <= wal_->end().frame) commits.push_back({frame, pages});
  }
  options_.observer->opened(image(), {frames.begin(), frames.end()}, std::move(commits));
}

void database_copy::observe_commits(std::uint32_t after) {
  const std::uint32_t end = wal_->end().frame;
  const auto commits = wal_->commits();
  std::size_t note = 0;
  for (auto commit = std::upper_bound(commits.begin(), commits.end(), std::pair(after, UINT32_MAX));
       commit != commits.end() && commit->first <= end && note < notes_.size(); ++commit) {
    notes_[note++].last_frame = commit->first;
  }
  if (note == 0) return;
  std::vector<observed_commit> made(
      std::make_move_iterator(notes_.begin()),
      std::make_move_iterator(notes_.begin() + static_cast<std::ptrdiff_t>(note)));
  notes_.erase(notes_.begin(), notes_.begin() + static_cast<std::ptrdiff_t>(note));
  const auto frames = wal_->pages(after, end);
  options_.observer->committed({frames.begin(), frames.end()}, std::move(made));
}

absl::Status database_copy::lock_exclusively() {
  const int fd = database_->descriptor();
  const auto name_who = [&](const absl::Status& s) {
    return absl::IsUnavailable(s) ? absl::FailedPreconditionError(std::string(message_of(s))) : s;
  };
  // PENDING keeps new readers out while the present ones go.
  const std::string what = fmt::format("copy {} is open elsewhere", name_);
  if (const absl::Status s = os::lock_within(fd, os::lock_mode::exclusive, sqlite::db_pending_byte, 2,
                                             options_.exclusive_patience, what);
      !s.ok()) {
    return name_who(s);
  }
  const absl::Status s = os::lock_within(fd, os::lock_mode::exclusive, sqlite::db_shared_first,
                                         sqlite::db_shared_size, options_.exclusive_patience, what);
  if (!s.ok()) (void)os::try_lock(fd, os::lock_mode::none, sqlite::db_pending_byte, 2);
  return name_who(s);
}

void database_copy::unlock_to_shared() {
  const int fd = database_->descriptor();
  (void)os::try_lock(fd, os::lock_mode::shared, sqlite::db_shared_first, sqlite::db_shared_size);
  (void)os::try_lock(fd, os::lock_mode::none, sqlite::db_pending_byte, 2);
}

absl::Status database_copy::prepare_for_stand_in() {
  UNDERSTUDY_RETURN_IF_ERROR(usable());
  if (!exists_) return absl::FailedPreconditionError(fmt::format("copy {}: there is none yet", name_));
  abandon();
  discard_unfinished();  // what the stand-in writes is newer
  UNDERSTUDY_RETURN_IF_ERROR(commit_durably());
  UNDERSTUDY_RETURN_IF_ERROR(lock_exclusively());
  must_fold_ = true;
  const absl::Status folded = fold();
  must_fold_ = false;
  if (!folded.ok() || wal_->end().frame > 0) {
    if (!broken_.ok()) return folded;
    if (database_ != nullptr) unlock_to_shared();
    if (!folded.ok()) return folded;
    return absl::FailedPreconditionError(
        fmt::format("copy {}: cannot be folded, {} is in the way", name_, figures_.fold_blocked_by));
  }
  UNDERSTUDY_RETURN_IF_ERROR(broken(directory_->remove_file(shm_name())));
  UNDERSTUDY_RETURN_IF_ERROR(broken(directory_->remove_file(wal_name())));
  UNDERSTUDY_RETURN_IF_ERROR(broken(directory_->sync()));
  if (options_.observer) options_.observer->released();
  wal_.reset();
  index_.reset();
  database_.reset();
  standing_in_ = true;
  return absl::OkStatus();
}

void database_copy::close() {
  let_go();
  options_.observer = nullptr;
  closed_ = true;
  broken_ = absl::FailedPreconditionError(fmt::format("copy {}: it was let go of", name_));
}

absl::Status database_copy::resume() {
  if (closed_) return broken_;
  UNDERSTUDY_RETURN_IF_ERROR(load(standing_in_));
  standing_in_ = false;
  return absl::OkStatus();
}

absl::Status database_copy::read_stored(std::uint32_t number, std::span<std::byte> page) {
  if (const auto frame = wal_->find(number)) return wal_->read_page(*frame, page);
  UNDERSTUDY_ASSIGN_OR_RETURN(const std::size_t n,
                              database_->read_at(page, std::uint64_t{number - 1} * page_size_));
  std::fill(page.begin() + static_cast<std::ptrdiff_t>(n), page.end(), std::byte{0});
  return absl::OkStatus();
}

absl::Status database_copy::read_page(std::uint32_t number, std::span<std::byte> page) {
  UNDERSTUDY_RETURN_IF_ERROR(usable());
  if (number == 0 || number > durable_pages_) {
    return absl::OutOfRangeError(fmt::format("copy {}: page {} of {}", name_, number, durable_pages_));
  }
  if (page.size() != page_size_) return absl::InvalidArgumentError("not the size of a page");
  return read_stored(number, page);
}

copy_figures database_copy::figures() const {
  copy_figures f = figures_;
  f.wal_bytes = wal_ != nullptr ? wal_->bytes() : 0;
  return f;
}

channel::sink_state database_copy::state() const {
  return {.exists = exists_,
          .page_size = page_size_,
          .database_pages = hashes_.size(),
          .combined = hashes_.combined()};
}

}  // namespace understudy::replica
