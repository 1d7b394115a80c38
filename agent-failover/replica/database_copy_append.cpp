// database_copy: transactions and heals on their way into the -wal.

#include <fmt/core.h>

#include <utility>

#include "agent-failover/replica/database_copy.hpp"
#include "common/sqlite/wal_format.hpp"
#include "common/status/status_macros.hpp"

namespace understudy::replica {

absl::Status database_copy::check_size(std::uint32_t claimed, std::uint32_t present,
                                       std::size_t brought) const {
  if (claimed == 0) {
    return absl::InvalidArgumentError(fmt::format("copy {}: a database without pages", name_));
  }
  // All pages past the present ones come, but the one that SQLite never stores.
  constexpr std::uint64_t lock_pages = 1;
  if (claimed > std::uint64_t{present} + brought + lock_pages) {
    return absl::InvalidArgumentError(fmt::format("copy {}: {} pages announced, {} present and {} received",
                                                  name_, claimed, present, brought));
  }
  return absl::OkStatus();
}

absl::Status database_copy::check_pages(std::uint32_t page_size,
                                        std::span<const channel::page_image> pages) const {
  // The last page number that SQLite itself allows; the peer is not trusted with more.
  constexpr std::uint32_t last_page = 0xfffffffe;
  for (const auto& p : pages) {
    if (p.number == 0 || p.number > last_page || p.bytes.size() != page_size) {
      return absl::InvalidArgumentError(fmt::format("copy {}: page {} with {} bytes, pages have {}", name_,
                                                    p.number, p.bytes.size(), page_size));
    }
  }
  return absl::OkStatus();
}

absl::Status database_copy::add_pages(std::uint32_t page_size, std::span<const channel::page_image> pages) {
  UNDERSTUDY_RETURN_IF_ERROR(usable());
  if (new_file_ != nullptr && new_file_->under_way) {
    if (new_file_->complete) return absl::FailedPreconditionError("a heal awaits its commit");
    if (page_size != new_file_->page_size)
      return absl::InvalidArgumentError("the page size changed within a heal");
    UNDERSTUDY_RETURN_IF_ERROR(check_pages(page_size, pages));
    return add_to_new_file(pages);
  }
  if (!exists_)
    return absl::FailedPreconditionError(fmt::format("copy {}: there is none yet; heal first", name_));
  if (page_size != page_size_) {
    return absl::FailedPreconditionError(
        fmt::format("copy {}: its pages have {} bytes, these have {}; heal", name_, page_size_, page_size));
  }
  UNDERSTUDY_RETURN_IF_ERROR(check_pages(page_size, pages));
  if (pending_.empty() && ended_.empty() && wal_->end().frame >= next_own_fold_ &&
      wal_->bytes() >= 2 * options_.fold_bytes) {
    UNDERSTUDY_RETURN_IF_ERROR(fold());
  }
  for (const auto& p : pages) {
    if (p.number == sqlite::lock_page(page_size_)) continue;
    UNDERSTUDY_RETURN_IF_ERROR(add_frame(p.number, p.bytes));
  }
  return absl::OkStatus();
}

absl::Status database_copy::add_frame(std::uint32_t number, std::string bytes) {
  pending_hashes_[number] = sqlite::hash_page(number, std::as_bytes(std::span(bytes)));
  pending_bytes_ += bytes.size();
  pending_.push_back({.page = number, .commit_pages = 0, .bytes = std::move(bytes)});
  return pending_bytes_ > options_.spill_bytes ? spill() : absl::OkStatus();
}

// The last frame stays behind: only at the end is it known to be the one that commits.
absl::Status database_copy::spill() {
  UNDERSTUDY_RETURN_IF_ERROR(release_retired());
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
  UNDERSTUDY_RETURN_IF_ERROR(broken(wal_->write(ended_, page_size_)));
  ended_.clear();
  const auto all_but_last = std::span(pending_).first(pending_.size() - 1);
  UNDERSTUDY_RETURN_IF_ERROR(broken(wal_->write(all_but_last, page_size_)));
  pending_.erase(pending_.begin(), pending_.end() - 1);
  pending_bytes_ = pending_.front().bytes.size();
  return absl::OkStatus();
}

sqlite::page_hash database_copy::register_after(std::uint32_t database_pages) const {
  sqlite::page_hash result = hashes_.combined();
  if (database_pages < hashes_.size()) {
    result ^= hashes_.combined_range(database_pages + 1, hashes_.size() - database_pages);
  }
  for (const auto& [page, hash] : pending_hashes_) {
    if (page > database_pages) continue;
    result ^= hash;
    if (page <= hashes_.size()) result ^= hashes_.at(page);
  }
  return result;
}

absl::Status database_copy::end_pending(std::uint32_t database_pages, const sqlite::page_hash& hash_after,
                                        std::uint64_t number) {
  if (absl::Status size = check_size(database_pages, hashes_.size(), pending_hashes_.size()); !size.ok()) {
    abandon();
    return size;
  }
  if (register_after(database_pages) != hash_after) {
    abandon();
    return absl::DataLossError(
        fmt::format("copy {}: the pages received do not give the hash announced", name_));
  }
  if (pending_.empty()) {
    if (database_pages == hashes_.size()) {
      healing_ = false;
      return absl::OkStatus();
    }
    // Only the size changes, and a size travels on a frame: page 1 as it is.
    UNDERSTUDY_RETURN_IF_ERROR(commit_durably());
    std::string first(page_size_, '\0');
    UNDERSTUDY_RETURN_IF_ERROR(read_stored(1, std::as_writable_bytes(std::span(first))));
    UNDERSTUDY_RETURN_IF_ERROR(add_frame(1, std::move(first)));
  }
  hashes_.resize(database_pages);
  for (const auto& [page, hash] : pending_hashes_) {
    if (page <= database_pages) hashes_.set(page, hash);
  }
  pending_.back().commit_pages = database_pages;
  if (options_.observer) {
    observed_commit& note = notes_.emplace_back();
    note.database_pages = database_pages;
    note.register_after = hash_after;
    note.heal = healing_ || number == 0;
    note.number = number;
    note.committed_at = captured_at_;
    note.pages.reserve(pending_hashes_.size());
    for (const auto& [page, hash] : pending_hashes_) note.pages.push_back({page, hash});
  }
  ended_.insert(ended_.end(), std::make_move_iterator(pending_.begin()),
                std::make_move_iterator(pending_.end()));
  pending_.clear();
  pending_hashes_.clear();
  pending_bytes_ = 0;
  healing_ = false;
  return absl::OkStatus();
}

absl::Status database_copy::end_transaction(const channel::transaction_header& header) {
  UNDERSTUDY_RETURN_IF_ERROR(usable());
  if (!exists_ || healing_ || (new_file_ != nullptr && new_file_->under_way)) {
    return absl::FailedPreconditionError(fmt::format("copy {}: not receiving transactions", name_));
  }
  if (header.page_size != page_size_ || header.hash_before != hashes_.combined()) {
    abandon();
    return absl::FailedPreconditionError(
        fmt::format("copy {}: transaction {} builds on another state; heal", name_, header.number));
  }
  return end_pending(header.database_pages, header.hash_after, header.number);
}

absl::Status database_copy::begin_heal(channel::heal_way way, std::uint32_t page_size) {
  UNDERSTUDY_RETURN_IF_ERROR(usable());
  if (!sqlite::valid_page_size(page_size)) {
    return absl::InvalidArgumentError(fmt::format("copy {}: {} is no page size", name_, page_size));
  }
  abandon();
  UNDERSTUDY_RETURN_IF_ERROR(commit_durably());
  // Whatever the way: what is brought now is what differs from the known image.
  if (new_file_ != nullptr && new_file_->page_size == page_size) {
    new_file_->under_way = true;
    return absl::OkStatus();
  }
  discard_unfinished();
  if (way == channel::heal_way::in_place && exists_ && page_size == page_size_) {
    healing_ = true;
    return absl::OkStatus();
  }
  auto made = std::make_unique<new_file>();
  UNDERSTUDY_ASSIGN_OR_RETURN(
      made->file, directory_->open(unfinished_name(), os::open_mode::create, options_.permissions));
  UNDERSTUDY_RETURN_IF_ERROR(made->file->truncate(0));
  if (exists_) {
    UNDERSTUDY_RETURN_IF_ERROR(made->file->set_mode(identity_.st_mode & 0777));
    UNDERSTUDY_ASSIGN_OR_RETURN(const struct ::stat now, made->file->status());
    if (now.st_uid != identity_.st_uid || now.st_gid != identity_.st_gid) {
      UNDERSTUDY_RETURN_IF_ERROR(made->file->set_owner(identity_.st_uid, identity_.st_gid));
    }
  }
  made->page_size = page_size;
  new_file_ = std::move(made);
  return absl::OkStatus();
}

absl::Status database_copy::end_heal(std::uint32_t database_pages, const sqlite::page_hash& hash_after) {
  UNDERSTUDY_RETURN_IF_ERROR(usable());
  if (new_file_ != nullptr && new_file_->under_way && !new_file_->complete)
    return complete_new_file(database_pages, hash_after);
  if (!healing_) return absl::FailedPreconditionError(fmt::format("copy {}: no heal is under way", name_));
  return end_pending(database_pages, hash_after, 0);
}

void database_copy::abandon() {
  suspend_heal();
  pending_.clear();
  pending_hashes_.clear();
  pending_bytes_ = 0;
  healing_ = false;
  if (wal_ == nullptr || !wal_->has_uncommitted()) return;
  // Nothing spilled can become visible: no frame of it commits, and what follows does not continue its chain.
  const absl::Status locked =
      index_->lock(sqlite::shm_lock_write, 1, os::lock_mode::exclusive, options_.patience);
  if (!locked.ok()) {
    (void)broken(locked);
    return;
  }
  const index_lock writing(*index_, sqlite::shm_lock_write);
  const auto untouched = is_untouched();
  if (!untouched.ok() || !*untouched) {
    (void)broken(absl::FailedPreconditionError(
        fmt::format("copy {}: another program wrote to it while a transaction arrived", name_)));
    return;
  }
  (void)broken(wal_->drop_uncommitted());
}

}  // namespace understudy::replica
