// database_copy: reading again what was written, and owning up to what differs.

#include <fcntl.h>
#include <fmt/core.h>

#include <algorithm>
#include <array>

#include "agent-failover/replica/database_copy.hpp"
#include "common/sqlite/wal_format.hpp"
#include "common/status/status_macros.hpp"

namespace understudy::replica {
namespace {

constexpr std::size_t read_ahead_bytes = 1 << 20;

}  // namespace

absl::StatusOr<std::vector<std::uint32_t>> database_copy::scrub(std::uint32_t first, std::uint32_t count) {
  UNDERSTUDY_RETURN_IF_ERROR(usable());
  std::vector<std::uint32_t> different;
  if (!exists_) return different;
  if (!ended_.empty() || wal_->has_unsynced_commit()) {
    return absl::UnavailableError(fmt::format("copy {}: a transaction waits for its sync", name_));
  }
  first = std::max(first, 1u);
  if (first > durable_pages_ || count == 0) return different;
  if (first == 1) {
    UNDERSTUDY_ASSIGN_OR_RETURN(different, scrub_wal());
  }
  const std::uint32_t last = first + std::min(count - 1, durable_pages_ - first);
  const std::uint32_t skipped = sqlite::lock_page(page_size_);
  // What the page cache holds says nothing about the disk. Clean pages only: frames that wait to be folded
  // and what a reader has mapped stay.
  (void)::posix_fadvise(database_->descriptor(), static_cast<off_t>(std::uint64_t{first - 1} * page_size_),
                        static_cast<off_t>(std::uint64_t{last - first + 1} * page_size_),
                        POSIX_FADV_DONTNEED);
  std::vector<std::byte> buffer(std::max<std::size_t>(read_ahead_bytes, page_size_));
  const auto at_once = static_cast<std::uint32_t>(buffer.size() / page_size_);
  std::vector<std::byte> logged(page_size_);
  for (std::uint32_t run = first; run <= last;) {
    const std::uint32_t pages = std::min(at_once, last - run + 1);
    const auto bytes = std::span(buffer).first(std::size_t{pages} * page_size_);
    UNDERSTUDY_ASSIGN_OR_RETURN(const std::size_t n,
                                database_->read_at(bytes, std::uint64_t{run - 1} * page_size_));
    std::fill(bytes.begin() + static_cast<std::ptrdiff_t>(n), bytes.end(), std::byte{0});
    for (std::uint32_t i = 0; i < pages; ++i) {
      const std::uint32_t page = run + i;
      // A page that was never set stands for zeros, as in a hole.
      if (page == skipped || hashes_.at(page) == sqlite::page_hash{}) continue;
      std::span<std::byte> image = bytes.subspan(std::size_t{i} * page_size_, page_size_);
      if (const auto frame = wal_->find(page)) {
        UNDERSTUDY_RETURN_IF_ERROR(wal_->read_page(*frame, logged));
        image = logged;
      }
      if (sqlite::hash_page(page, image) != hashes_.at(page)) different.push_back(page);
    }
    if (last - run < pages) break;
    run += pages;
  }
  std::sort(different.begin(), different.end());
  different.erase(std::unique(different.begin(), different.end()), different.end());
  return different;
}

// A frame that is damaged anywhere hides all that follow from readers, so the pages of all of these differ.
absl::StatusOr<std::vector<std::uint32_t>> database_copy::scrub_wal() {
  std::vector<std::uint32_t> hidden;
  const std::uint32_t end = wal_->end().frame;
  if (end == 0) return hidden;
  UNDERSTUDY_ASSIGN_OR_RETURN(const auto again, copy_wal::open_to_read(*directory_, wal_name()));
  UNDERSTUDY_RETURN_IF_ERROR(again->recover());
  if (again->end() == wal_->end()) return hidden;
  const std::uint32_t seen = again->page_size() == page_size_ ? std::min(again->end().frame, end) : 0;
  for (const auto& [page, frame] : wal_->newest(seen, end)) hidden.push_back(page);
  return hidden;
}

absl::Status database_copy::disown(const std::vector<std::uint32_t>& pages) {
  UNDERSTUDY_RETURN_IF_ERROR(usable());
  if (!exists_) return absl::OkStatus();
  abandon();
  UNDERSTUDY_RETURN_IF_ERROR(commit_durably());
  // Frames appended behind a damaged one would stay hidden: the -wal ends before it from now on.
  if (std::any_of(pages.begin(), pages.end(), [&](std::uint32_t p) { return wal_->find(p).has_value(); }))
    return broken(load(false));
  std::vector<std::byte> image(page_size_);
  for (const std::uint32_t page : pages) {
    if (page == 0 || page > durable_pages_) continue;
    UNDERSTUDY_RETURN_IF_ERROR(read_stored(page, image));
    hashes_.set(page, sqlite::hash_page(page, image));
  }
  durable_register_ = hashes_.combined();
  return absl::OkStatus();
}

}  // namespace understudy::replica
