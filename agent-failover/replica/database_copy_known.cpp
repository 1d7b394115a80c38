// database_copy: what is known of the source's image: the copy, and what a heal that was cut off has brought
// beside it. Of the file that was brought only hashes are believed, which are made of what can be read in it;
// a page of zeros counts as not brought. Whatever is missing or torn in it differs from the source and is
// brought again.

#include <algorithm>
#include <array>
#include <utility>

#include "agent-failover/replica/database_copy.hpp"
#include "common/log/log.hpp"
#include "common/sqlite/wal_format.hpp"
#include "common/status/status_macros.hpp"
#include "common/status/status_text.hpp"

namespace understudy::replica {
namespace {

constexpr std::size_t read_ahead_bytes = 1 << 20;

bool all_zero(std::span<const std::byte> bytes) {
  return std::all_of(bytes.begin(), bytes.end(), [](std::byte b) { return b == std::byte{0}; });
}

}  // namespace

void database_copy::suspend_heal() {
  if (new_file_ == nullptr || !new_file_->under_way) return;
  new_file& f = *new_file_;
  const absl::Status written = write_run();
  if (!written.ok() || f.brought_pages == 0) return discard_unfinished();
  f.under_way = false;
  f.complete = false;
  f.through_the_wal = false;
}

void database_copy::discard_unfinished() {
  if (std::exchange(new_file_, nullptr) != nullptr) (void)directory_->remove_file(unfinished_name());
}

absl::Status database_copy::load_unfinished() {
  auto file = directory_->open(unfinished_name(), os::open_mode::read_write);
  if (absl::IsNotFound(file.status())) return absl::OkStatus();
  UNDERSTUDY_RETURN_IF_ERROR(file.status());
  auto f = std::make_unique<new_file>();
  f->file = *std::move(file);
  f->under_way = false;
  std::array<std::byte, 100> head{};
  UNDERSTUDY_ASSIGN_OR_RETURN(const std::size_t n, f->file->read_at(head, 0));
  const auto header = n == head.size() ? sqlite::parse_database_header(head) : std::nullopt;
  f->page_size = header ? header->page_size : page_size_;
  UNDERSTUDY_ASSIGN_OR_RETURN(const struct ::stat s, f->file->status());
  const auto pages = f->page_size == 0
                         ? 0
                         : static_cast<std::uint32_t>(static_cast<std::uint64_t>(s.st_size) / f->page_size);
  f->hashes.resize(pages);
  f->brought.resize(pages);
  std::vector<std::byte> buffer(std::max<std::size_t>(read_ahead_bytes, f->page_size));
  const auto at_once = static_cast<std::uint32_t>(f->page_size == 0 ? 0 : buffer.size() / f->page_size);
  for (std::uint32_t first = 1; first <= pages; first += std::min(at_once, pages - first + 1)) {
    UNDERSTUDY_ASSIGN_OR_RETURN(const std::size_t read,
                                f->file->read_at(buffer, std::uint64_t{first - 1} * f->page_size));
    const std::uint32_t count = std::min(at_once, pages - first + 1);
    for (std::uint32_t i = 0; i < count && (std::size_t{i} + 1) * f->page_size <= read; ++i) {
      const auto page = std::span(buffer).subspan(std::size_t{i} * f->page_size, f->page_size);
      if (all_zero(page)) continue;
      f->hashes.set(first + i, sqlite::hash_page(first + i, page));
      f->brought[first + i - 1] = true;
      ++f->brought_pages;
    }
  }
  new_file_ = std::move(f);
  if (new_file_->brought_pages == 0) {
    discard_unfinished();
    return absl::OkStatus();
  }
  log::info(name_, "a heal was cut off; {} of its pages of {} bytes are here", new_file_->brought_pages,
            new_file_->page_size);
  return absl::OkStatus();
}

// Whether what was brought is to be laid over the copy's own pages.
bool database_copy::overlays() const {
  return exists_ && new_file_ != nullptr && new_file_->page_size == page_size_;
}

channel::known_image database_copy::known() const {
  if (new_file_ == nullptr || new_file_->complete) return channel::database_sink::known();
  return {.exists = true,
          .page_size = new_file_->page_size,
          .database_pages = std::max(new_file_->hashes.size(), overlays() ? hashes_.size() : 0),
          .combined = {},
          .kept_pages = new_file_->brought_pages};
}

sqlite::page_hash database_copy::known_hash(std::uint32_t number) const {
  const bool unfinished = new_file_ != nullptr && !new_file_->complete;
  if (unfinished && number <= new_file_->brought.size() && new_file_->brought[number - 1])
    return new_file_->hashes.at(number);
  if (unfinished && !overlays()) return {};
  return number <= hashes_.size() ? hashes_.at(number) : sqlite::page_hash{};
}

std::vector<sqlite::page_hash> database_copy::hashes(std::uint32_t first, std::uint32_t count) const {
  std::vector<sqlite::page_hash> result;
  const std::uint32_t pages = known().database_pages;
  for (std::uint32_t n = first; n != 0 && n <= pages && count > 0; ++n, --count)
    result.push_back(known_hash(n));
  return result;
}

std::vector<sqlite::page_hash> database_copy::block_hashes(std::uint32_t first, std::uint32_t block_pages,
                                                           std::uint32_t count) const {
  std::vector<sqlite::page_hash> result;
  if (first == 0 || block_pages == 0) return result;
  const std::uint32_t pages = known().database_pages;
  const bool unfinished = new_file_ != nullptr && !new_file_->complete;
  for (std::uint64_t n = first; n <= pages && count > 0; n += block_pages, --count) {
    if (!unfinished) {
      result.push_back(hashes_.combined_range(static_cast<std::uint32_t>(n), block_pages));
      continue;
    }
    sqlite::page_hash block;
    for (std::uint64_t page = n; page < n + block_pages && page <= pages; ++page)
      block ^= known_hash(static_cast<std::uint32_t>(page));
    result.push_back(block);
  }
  return result;
}

}  // namespace understudy::replica
