#include "agent-failover/tables/table_sink.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <span>
#include <utility>

#include "agent-failover/replica/guarded_copy.hpp"
#include "agent-failover/tables/copy_image.hpp"
#include "common/status/status_macros.hpp"

namespace understudy::tables {
namespace {

// Of the image as SQLite sees it: past every page that a schema may name.
constexpr std::uint32_t any_pages = 0x3ffffffe;

// Of what is kept for a page beside its bytes, about: so many pages without bytes cost memory, too.
constexpr std::uint64_t bytes_each = 128;

bool all_zeros(const std::string& bytes) {
  return bytes.find_first_not_of('\0') == std::string::npos;
}

absl::Status take(replica::database_copy& copy, const merged_image& merged, std::uint64_t number,
                  std::chrono::system_clock::time_point captured_at) {
  const channel::sink_state before = copy.state();
  if (merged.pages.empty() && merged.database_pages == before.database_pages) return copy.commit_durably();
  const sqlite::page_hash_array& hashes = copy.page_hashes();
  sqlite::page_hash after = before.combined;
  if (merged.database_pages < before.database_pages) {
    after ^= hashes.combined_range(merged.database_pages + 1, before.database_pages - merged.database_pages);
  }
  for (const auto& page : merged.pages) {
    if (page.number <= before.database_pages) after ^= hashes.at(page.number);
    after ^= sqlite::hash_page(page.number, std::as_bytes(std::span(page.bytes)));
  }
  copy.captured_at(captured_at);
  UNDERSTUDY_RETURN_IF_ERROR(copy.add_pages(before.page_size, merged.pages));
  UNDERSTUDY_RETURN_IF_ERROR(copy.end_transaction({.number = number,
                                                   .page_size = before.page_size,
                                                   .database_pages = merged.database_pages,
                                                   .hash_before = before.combined,
                                                   .hash_after = after}));
  return copy.commit_durably();
}

}  // namespace

class table_sink::image final : public rows::page_source {
 public:
  explicit image(const table_sink& of) : of_(of) {}
  std::uint32_t page_size() const override { return of_.page_size_; }
  std::uint32_t page_count() const override { return any_pages; }
  absl::Status read_page(std::uint32_t number, std::span<std::byte> bytes) override {
    const auto found = of_.pages_.find(number);
    if (found == of_.pages_.end()) {
      std::fill(bytes.begin(), bytes.end(), std::byte{0});
    } else {
      std::copy_n(reinterpret_cast<const std::byte*>(found->second.bytes.data()), bytes.size(),
                  bytes.begin());
    }
    return absl::OkStatus();
  }

 private:
  const table_sink& of_;
};

table_sink::table_sink(std::shared_ptr<replica::guarded_copy> copy, std::vector<std::string> tables,
                       table_sink_options options)
    : copy_(std::move(copy)), tables_(std::move(tables)), options_(options) {}

table_sink::~table_sink() = default;

channel::sink_state table_sink::state() const {
  return {
      .exists = exists_, .page_size = page_size_, .database_pages = database_pages_, .combined = combined_};
}

std::vector<sqlite::page_hash> table_sink::hashes(std::uint32_t first, std::uint32_t count) const {
  std::vector<sqlite::page_hash> result;
  if (first == 0 || first > database_pages_) return result;
  result.resize(std::min(count, database_pages_ - first + 1));
  for (auto at = pages_.lower_bound(first); at != pages_.end() && at->first - first < result.size(); ++at)
    result[at->first - first] = at->second.hash;
  return result;
}

std::vector<sqlite::page_hash> table_sink::block_hashes(std::uint32_t first, std::uint32_t block_pages,
                                                        std::uint32_t count) const {
  std::vector<sqlite::page_hash> result;
  if (first == 0 || block_pages == 0) return result;
  std::uint64_t start = first;
  for (std::uint32_t block = 0; block < count && start <= database_pages_; ++block, start += block_pages) {
    sqlite::page_hash all;
    for (auto at = pages_.lower_bound(static_cast<std::uint32_t>(start));
         at != pages_.end() && at->first - start < block_pages; ++at)
      all ^= at->second.hash;
    result.push_back(all);
  }
  return result;
}

absl::Status table_sink::add_pages(std::uint32_t page_size, std::span<const channel::page_image> pages) {
  const std::uint32_t expected = healing_ ? pending_page_size_ : page_size_;
  if (!healing_ && !exists_)
    return absl::FailedPreconditionError("there are no pages of the tables yet; heal");
  if (page_size != expected)
    return absl::FailedPreconditionError(
        fmt::format("pages of {} bytes after {}; heal", page_size, expected));
  for (const auto& given : pages) {
    if (given.number == 0 || given.number > any_pages || given.bytes.size() != page_size)
      return absl::InvalidArgumentError(fmt::format("page {} of {} bytes", given.number, given.bytes.size()));
    const auto [at, first] = pending_.try_emplace(given.number);
    page& kept = at->second;
    bytes_ += first ? bytes_each : 0;
    bytes_ -= kept.bytes.size();
    kept = {};
    if (!all_zeros(given.bytes)) {
      kept = {.bytes = given.bytes,
              .hash = sqlite::hash_page(given.number, std::as_bytes(std::span(given.bytes)))};
      bytes_ += kept.bytes.size();
    }
    if (bytes_ > options_.most_bytes) {
      return absl::ResourceExhaustedError(fmt::format(
          "the named tables have more than {} MiB, too much for mode configuration: name fewer, or "
          "use mode all",
          options_.most_bytes >> 20));
    }
  }
  return absl::OkStatus();
}

absl::Status table_sink::end_transaction(const channel::transaction_header& header) {
  if (!exists_ || healing_ || header.page_size != page_size_ || header.hash_before != combined_) {
    abandon();
    return absl::FailedPreconditionError("a transaction that builds on another state; heal");
  }
  return end(header.database_pages, header.hash_after);
}

absl::Status table_sink::end(std::uint32_t database_pages, const sqlite::page_hash& hash_after) {
  const bool afresh = healing_ && (!exists_ || pending_page_size_ != page_size_);
  sqlite::page_hash after;
  if (!afresh) {
    after = combined_;
    for (auto at = pages_.upper_bound(database_pages); at != pages_.end(); ++at) after ^= at->second.hash;
  }
  for (const auto& [number, what] : pending_) {
    if (number > database_pages) continue;
    after ^= what.hash;
    const auto found = afresh ? pages_.end() : pages_.find(number);
    if (found != pages_.end()) after ^= found->second.hash;
  }
  if (after != hash_after || database_pages == 0) {
    abandon();
    return absl::DataLossError("the pages of the tables do not give the hash announced");
  }
  if (afresh) pages_.clear();
  for (auto& [number, what] : pending_) {
    if (what.bytes.empty()) {
      pages_.erase(number);
    } else {
      pages_[number] = std::move(what);
    }
  }
  pages_.erase(pages_.upper_bound(database_pages), pages_.end());
  if (healing_) page_size_ = pending_page_size_;
  pending_.clear();
  healing_ = false;
  bytes_ = std::uint64_t{pages_.size()} * (page_size_ + bytes_each);
  database_pages_ = database_pages;
  combined_ = after;
  exists_ = dirty_ = true;
  stale_ = false;
  return absl::OkStatus();
}

absl::Status table_sink::begin_heal(channel::heal_way, std::uint32_t page_size) {
  abandon();
  healing_ = true;
  pending_page_size_ = page_size;
  return absl::OkStatus();
}

absl::Status table_sink::end_heal(std::uint32_t database_pages, const sqlite::page_hash& hash_after) {
  if (!healing_) return absl::FailedPreconditionError("no heal is under way");
  return end(database_pages, hash_after);
}

void table_sink::abandon() {
  pending_.clear();
  healing_ = false;
  bytes_ = std::uint64_t{pages_.size()} * (page_size_ + bytes_each);
}

absl::Status table_sink::found_equal() {
  stale_ = false;
  return commit_durably();
}

absl::Status table_sink::commit_durably() {
  if (!dirty_ || stale_) return absl::OkStatus();
  const absl::Status taken = copy_->with([&](replica::database_copy& copy) -> absl::Status {
    UNDERSTUDY_RETURN_IF_ERROR(copy.condition());
    copy_image present(copy);
    image named(*this);
    UNDERSTUDY_ASSIGN_OR_RETURN(const merged_image merged, merge_tables(present, named, tables_));
    return take(copy, merged, ++merges_, captured_at_);
  });
  // Not the same again before the source said what it has now: that may be something that can be applied.
  stale_ = !taken.ok();
  UNDERSTUDY_RETURN_IF_ERROR(taken);
  dirty_ = false;
  durable_at_ = std::chrono::steady_clock::now();
  return absl::OkStatus();
}

}  // namespace understudy::tables
