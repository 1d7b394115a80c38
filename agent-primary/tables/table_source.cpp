#include "agent-primary/tables/table_source.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <thread>
#include <utility>

#include "common/status/status_macros.hpp"
#include "common/status/status_text.hpp"

namespace understudy::tables {
namespace {

using channel::source_event;
using channel::source_state;
using std::chrono::milliseconds;
using std::chrono::seconds;
using std::chrono::steady_clock;

constexpr seconds search_within{10};      // pages that do not fit together for so long are damaged; an agent
                                          // that stops waits for it
constexpr seconds refused_for{5};         // before the next search
constexpr milliseconds reread_after{1};   // a page that the application was writing
constexpr milliseconds take_within{200};  // what the database has, its subscription gives at once

}  // namespace

table_source::table_source(std::shared_ptr<channel::database_source> whole, std::vector<std::string> tables,
                           std::shared_ptr<saved_traffic> saved)
    : whole_(std::move(whole)), tables_(std::move(tables)), saved_(std::move(saved)) {}

source_state table_source::state() const {
  source_state now = whole_->state();
  if (now.now != source_state::phase::ready) return now;
  if (steady_clock::now() < refused_until_) {
    now.now = source_state::phase::refused;
    now.reason = refused_;
    return now;
  }
  if (pages_ == nullptr) return now;
  now.page_size = pages_->page_size();
  now.database_pages = pages_->pages();
  now.combined = pages_->combined();
  now.number = number_;
  return now;
}

std::vector<sqlite::page_hash> table_source::hashes(std::uint32_t first, std::uint32_t count) const {
  std::vector<sqlite::page_hash> result;
  if (pages_ == nullptr || first == 0) return result;
  const std::uint64_t end =
      std::min<std::uint64_t>(std::uint64_t{first} + count, std::uint64_t{pages_->pages()} + 1);
  for (std::uint64_t page = first; page < end; ++page)
    result.push_back(pages_->hash_of(static_cast<std::uint32_t>(page)));
  return result;
}

std::vector<sqlite::page_hash> table_source::block_hashes(std::uint32_t first, std::uint32_t block_pages,
                                                          std::uint32_t count) const {
  std::vector<sqlite::page_hash> result;
  if (pages_ == nullptr || first == 0 || block_pages == 0) return result;
  std::uint64_t start = first;
  for (std::uint32_t block = 0; block < count && start <= pages_->pages(); ++block, start += block_pages)
    result.push_back(pages_->combined(static_cast<std::uint32_t>(start), block_pages));
  return result;
}

absl::StatusOr<channel::page_image> table_source::read_page(std::uint32_t number) const {
  if (pages_ == nullptr || number == 0 || number > pages_->pages())
    return absl::OutOfRangeError("a page past the end of the tables' image");
  if (!pages_->has(number))
    return channel::page_image{.number = number, .bytes = std::string(pages_->page_size(), '\0')};
  UNDERSTUDY_ASSIGN_OR_RETURN(channel::page_image page, whole_->read_page(number));
  if (number == 1 && page.bytes.size() == pages_->page_size())
    page.bytes = image_of_first_page(std::move(page.bytes));
  return page;
}

// False: one of them is being written; it is asked for again.
absl::StatusOr<bool> table_source::read_missing(const std::vector<std::uint32_t>& missing) {
  bool all = true;
  for (const std::uint32_t number : missing) {
    const auto page = whole_->read_page(number);
    const auto expected = whole_->hashes(number, 1);
    if (page.ok() && !expected.empty() &&
        sqlite::hash_page(number, std::as_bytes(std::span(page->bytes))) == expected[0]) {
      pages_->learn(number, page->bytes);
      continue;
    }
    all = false;
  }
  return all;
}

// Every page known is the one of the last transaction taken, once that is not older than the last reading: it
// was not written since it was read, or the subscription brought what was. So a search that then needs no
// page walked one image.
absl::Status table_source::search(channel::source_subscription& from) {
  const auto deadline = steady_clock::now() + search_within;
  taken_ = from.base().number;
  std::uint32_t database_pages = from.base().database_pages;
  std::uint64_t read_at = taken_;
  absl::Status trouble;
  for (;;) {
    while (taken_ < read_at) {
      const source_event event = from.next(steady_clock::now() + take_within);
      if (event.what == source_event::kind::nothing) break;
      if (event.what != source_event::kind::transaction) return absl::AbortedError(event.reason);
      if (event.transaction.page_size != pages_->page_size())
        return absl::AbortedError("the page size changed");
      for (const auto& page : event.transaction.pages) pages_->note_written(page.number, page.bytes);
      taken_ = event.transaction.number;
      database_pages = event.transaction.database_pages;
    }
    const auto missing = pages_->find(database_pages);
    if (missing.ok() && missing->empty() && taken_ >= read_at) return absl::OkStatus();
    trouble = missing.status();
    if (absl::IsUnimplemented(trouble) || absl::IsResourceExhausted(trouble) ||
        steady_clock::now() >= deadline)
      break;
    bool all = missing.ok();
    if (missing.ok()) {
      UNDERSTUDY_ASSIGN_OR_RETURN(all, read_missing(*missing));
    }
    if (!all) std::this_thread::sleep_for(reread_after);
    read_at = std::max(read_at, whole_->state().number);
  }
  if (trouble.ok()) trouble = absl::UnavailableError("the application writes them faster than they are read");
  return trouble;
}

// The subscription that the channel sees.
class table_source::filtered final : public channel::source_subscription {
 public:
  filtered(std::shared_ptr<table_source> of, std::unique_ptr<channel::source_subscription> from)
      : of_(std::move(of)), from_(std::move(from)) {
    base_.now = source_state::phase::ready;
    base_.page_size = of_->pages_->page_size();
    base_.database_pages = of_->pages_->pages();
    base_.combined = of_->pages_->combined();
    base_.number = of_->number_;
  }
  ~filtered() override { of_->pages_ = nullptr; }

  const source_state& base() const override { return base_; }
  std::uint64_t waiting_bytes() const override { return 0; }  // how much of it is theirs is not known
  void set_ready_callback(std::function<void()> callback) override {
    from_->set_ready_callback(std::move(callback));
  }
  source_event next(steady_clock::time_point deadline) override {
    table_pages& pages = *of_->pages_;
    for (;;) {
      source_event event = from_->next(deadline);
      if (event.what != source_event::kind::transaction) return event;
      channel::captured_transaction& all = event.transaction;
      if (all.page_size != pages.page_size()) return gap("the page size changed");
      of_->taken_ = all.number;
      const sqlite::page_hash before = pages.combined();
      auto theirs = pages.follow(all.pages, all.database_pages);
      if (!theirs.ok()) return gap(std::string(message_of(theirs.status())));
      const std::uint64_t skipped = all.pages.size() - std::min(all.pages.size(), theirs->size());
      of_->saved_->bytes += skipped * pages.page_size();
      if (theirs->empty()) {
        of_->saved_->transactions++;
        continue;
      }
      all.number = ++of_->number_;
      all.database_pages = pages.pages();
      all.pages = *std::move(theirs);
      all.hash_before = before;
      all.hash_after = pages.combined();
      return event;
    }
  }

 private:
  static source_event gap(std::string reason) {
    source_event event;
    event.what = source_event::kind::gap;
    event.reason = std::move(reason);
    return event;
  }

  const std::shared_ptr<table_source> of_;
  const std::unique_ptr<channel::source_subscription> from_;
  source_state base_;
};

absl::StatusOr<std::unique_ptr<channel::source_subscription>> table_source::subscribe() {
  UNDERSTUDY_ASSIGN_OR_RETURN(auto from, whole_->subscribe());
  pages_ = std::make_unique<table_pages>(tables_, from->base().page_size);
  if (const absl::Status found = search(*from); !found.ok()) {
    pages_ = nullptr;
    if (absl::IsAborted(found)) return found;
    refused_ = fmt::format("the pages of the named tables cannot be told: {}", message_of(found));
    refused_until_ = steady_clock::now() + refused_for;
    return absl::FailedPreconditionError(refused_);
  }
  return std::make_unique<filtered>(shared_from_this(), std::move(from));
}

}  // namespace understudy::tables
