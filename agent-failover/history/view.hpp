#pragma once

// A database as it was at one state of its history: a source of pages that stays what it is while the copy
// moves on. A page is the oldest before-image that the log has of it after this state; where there is none,
// the page has not changed since, and the copy's own is the one.
//
//   auto before = history->view_of(41);     // pages as of state 41
//   auto after = history->view_of(41);
//   while (after->advance().ok()) {         // 42, 43, ...: cheap, whatever their number
//     for (std::uint32_t page : after->changed_pages()) ... before->read_page() / after->read_page() ...
//     before->advance();
//   }
//
// It holds the log's files open: states that are dropped from the window meanwhile can still be read.
// Threads: one view is used by one thread at a time; views and the copy do not disturb each other.

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "agent-failover/history/change.hpp"

namespace understudy::history {

class view {
 public:
  view(const view&) = delete;
  ~view();

  std::uint64_t state() const;
  std::uint32_t page_size() const;
  std::uint32_t page_count() const;

  // `page` has page_size() bytes. kOutOfRange past the end; kAborted when the history was interrupted (by a
  // stand-in, by a log that could not keep up) and this state is lost; kDataLoss when the log is damaged.
  absl::Status read_page(std::uint32_t number, std::span<std::byte> page);
  // As many pages as fit, from `first` on; the same errors.
  absl::Status read_pages(std::uint32_t first, std::span<std::byte> pages);

  // XOR over the hashes of its pages.
  const sqlite::page_hash& combined() const;

  // Every page but the one that SQLite never stores, each once, in the order in which they are had fastest.
  // The same errors, and whatever `take` returns.
  using sink = std::function<absl::Status(std::uint32_t first, std::span<const std::byte> pages)>;
  absl::Status read_all(const sink& take);

  // To the next state. kOutOfRange: this is the newest one (it may be called again later).
  absl::Status advance();
  // The change that led to this state, and the pages that it wrote or cut off, ascending. Known after
  // advance(); a view that was just made has kind begin and no pages.
  const change& last_change() const;
  const std::vector<std::uint32_t>& changed_pages() const;

  class body;
  explicit view(std::unique_ptr<body> b);

 private:
  std::unique_ptr<body> body_;
};

}  // namespace understudy::history
