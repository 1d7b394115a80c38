#pragma once

// Where a stream of named tables ends: their pages in memory, their rows in the copy. What the stream is told
// to be durable is durable in the copy, as rows: the pages are only what the next rows are found by, and
// after a restart they come again.
//
// The copy then shows a commit of the primary as far as the named tables go: between two acknowledgements one
// or several of its transactions become one of the copy's.

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "agent-failover/tables/table_merge.hpp"
#include "common/channel/database_sink.hpp"

namespace understudy::replica {
class guarded_copy;
}

namespace understudy::tables {

struct table_sink_options {
  std::uint64_t most_bytes = 256 << 20;  // of the tables' pages in memory; more: mode `all` is the one
};

// Threads: one at a time.
class table_sink final : public channel::database_sink {
 public:
  // The copy exists; others may look after it meanwhile, but nobody else feeds it.
  table_sink(std::shared_ptr<replica::guarded_copy> copy, std::vector<std::string> tables,
             table_sink_options options = {});
  ~table_sink() override;

  channel::sink_state state() const override;
  std::vector<sqlite::page_hash> hashes(std::uint32_t first, std::uint32_t count) const override;
  std::vector<sqlite::page_hash> block_hashes(std::uint32_t first, std::uint32_t block_pages,
                                              std::uint32_t count) const override;
  // kResourceExhausted: the tables are too large for this mode.
  absl::Status add_pages(std::uint32_t page_size, std::span<const channel::page_image> pages) override;
  absl::Status end_transaction(const channel::transaction_header& header) override;
  // Brings the copy's tables to the image that ended last. An error ends the stream, and the copy keeps what
  // it has; it is tried again with what the source has when it is back, not before.
  absl::Status commit_durably() override;
  absl::Status found_equal() override;
  absl::Status begin_heal(channel::heal_way way, std::uint32_t page_size) override;
  absl::Status end_heal(std::uint32_t database_pages, const sqlite::page_hash& hash_after) override;
  void captured_at(std::chrono::system_clock::time_point time) override { captured_at_ = time; }
  void abandon() override;
  bool sparse() const override { return true; }

  // Somebody else changed the copy, and brought it to something newer, as far as it is known: what is here is
  // no reason to change it back, but to look at it when the source says that it has the same.
  void copy_changed() { dirty_ = stale_ = exists_; }
  // When they were last made durable; zero: not yet.
  std::chrono::steady_clock::time_point durable_at() const { return durable_at_; }

 private:
  struct page {
    std::string bytes;
    sqlite::page_hash hash;
  };
  class image;

  absl::Status end(std::uint32_t database_pages, const sqlite::page_hash& hash_after);

  const std::shared_ptr<replica::guarded_copy> copy_;
  const std::vector<std::string> tables_;
  const table_sink_options options_;

  bool exists_ = false;
  std::uint32_t page_size_ = 0;
  std::uint32_t database_pages_ = 0;
  std::map<std::uint32_t, page> pages_;  // without those that are all zeros
  sqlite::page_hash combined_;
  std::uint64_t bytes_ = 0;                // of pages_ and pending_
  std::map<std::uint32_t, page> pending_;  // of the transaction or heal under way; empty bytes: zeros
  std::uint32_t pending_page_size_ = 0;
  bool healing_ = false;
  bool dirty_ = false;  // the copy may not have what ended last
  bool stale_ = false;  // the source has not said since that this is what it has
  std::uint64_t merges_ = 0;
  std::chrono::system_clock::time_point captured_at_;
  std::chrono::steady_clock::time_point durable_at_;
};

}  // namespace understudy::tables
