#pragma once

// A database as if it had only some of its tables: the image that tables.proto describes, over a source that
// has all of it. One per stream, used by the stream's thread alone.
//
// What it says of itself (state, hashes) is of the last transaction taken from its subscription, while
// read_page() gives what the database has now: that is what the channel asks of a source.

#include <atomic>
#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "agent-primary/tables/table_pages.hpp"
#include "common/channel/database_source.hpp"

namespace understudy::tables {

// What did not have to travel.
struct saved_traffic {
  std::atomic<std::uint64_t> transactions{0};
  std::atomic<std::uint64_t> bytes{0};
};

class table_source final : public channel::database_source,
                           public std::enable_shared_from_this<table_source> {
 public:
  // `saved` is counted up; it may be read from any thread.
  table_source(std::shared_ptr<channel::database_source> whole, std::vector<std::string> tables,
               std::shared_ptr<saved_traffic> saved);

  // Refused, with the reason, for a few seconds after the tables' pages could not be found.
  channel::source_state state() const override;
  std::vector<sqlite::page_hash> hashes(std::uint32_t first, std::uint32_t count) const override;
  std::vector<sqlite::page_hash> block_hashes(std::uint32_t first, std::uint32_t block_pages,
                                              std::uint32_t count) const override;
  absl::StatusOr<channel::page_image> read_page(std::uint32_t number) const override;
  bool looked_since(std::chrono::steady_clock::time_point asked) override {
    return whole_->looked_since(asked) && whole_->state().number == taken_;
  }
  // Reads the tables' pages that are not their rows' only once: some milliseconds for a few thousand pages.
  // One subscription at a time.
  absl::StatusOr<std::unique_ptr<channel::source_subscription>> subscribe() override;
  bool sparse() const override { return true; }

 private:
  class filtered;

  absl::Status search(channel::source_subscription& from);
  absl::StatusOr<bool> read_missing(const std::vector<std::uint32_t>& missing);

  const std::shared_ptr<channel::database_source> whole_;
  const std::vector<std::string> tables_;
  const std::shared_ptr<saved_traffic> saved_;

  std::unique_ptr<table_pages> pages_;  // null: no subscription
  std::uint64_t taken_ = 0;             // the last transaction of `whole_` taken
  std::uint64_t number_ = 0;            // of the last transaction that concerned the tables
  std::string refused_;
  std::chrono::steady_clock::time_point refused_until_;
};

}  // namespace understudy::tables
