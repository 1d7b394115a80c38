#pragma once

// The sending end of one database: what the channel needs from a capture, wherever it runs (on the primary
// while it protects; on the failover host, over the stand-in's copy, at failback).

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/sqlite/page_hash.hpp"

namespace understudy::channel {

struct page_image {
  std::uint32_t number = 0;
  std::string bytes;  // exactly one page
};

// One committed transaction, as its page images. A page may occur more than once; the last one counts.
struct captured_transaction {
  std::uint64_t number = 0;     // grows by one per transaction of this capture's life; not across restarts
  std::uint32_t page_size = 0;  // bytes
  std::uint32_t database_pages = 0;  // size of the database after the commit
  std::vector<page_image> pages;
  sqlite::page_hash hash_before;  // XOR register before and after
  sqlite::page_hash hash_after;
  std::chrono::system_clock::time_point captured_at;  // when the commit was seen: at most a poll after it
};

// An image of the source at one instant.
struct source_state {
  enum class phase {
    absent,    // no such database file yet
    scanning,  // hashes are being built; `scanned_bytes` of `total_bytes`
    ready,     // hashes follow every commit
    refused,   // cannot be captured; `reason` says why and what to do
  };
  phase now = phase::absent;
  std::string reason;
  std::uint64_t scanned_bytes = 0;
  std::uint64_t total_bytes = 0;
  std::uint32_t page_size = 0;
  std::uint32_t database_pages = 0;
  sqlite::page_hash combined;
  std::uint64_t number = 0;  // of the last transaction contained
};

// What a subscription delivers next.
struct source_event {
  enum class kind {
    nothing,      // the deadline passed
    transaction,  // `transaction` is the next one, none left out since the subscription's base
    gap,          // continuity is lost (`reason`): drop the subscription, heal with a new one
    closed,       // the capture stopped
  };
  kind what = kind::nothing;
  captured_transaction transaction;
  std::string reason;
};

// Transactions in commit order, from a base on. Its queue is bounded (`queue_limit_bytes`): a reader that is
// too slow gets a gap, never an unbounded spool. Used by one thread; destroying it unsubscribes.
class source_subscription {
 public:
  virtual ~source_subscription() = default;
  virtual const source_state& base() const = 0;
  virtual source_event next(std::chrono::steady_clock::time_point deadline) = 0;
  // Bytes, about, of the transactions that next() would give now.
  virtual std::uint64_t waiting_bytes() const { return 0; }
  // Called (from the capture's thread, must be quick) whenever next() would not wait.
  virtual void set_ready_callback(std::function<void()> callback) = 0;
};

// Thread-safe.
class database_source {
 public:
  virtual ~database_source() = default;

  virtual source_state state() const = 0;
  // The hashes [first, first + count) as they are now, fewer past the end.
  virtual std::vector<sqlite::page_hash> hashes(std::uint32_t first, std::uint32_t count) const = 0;
  // XOR of each block of `block_pages` pages from page `first` on, `count` blocks at most.
  virtual std::vector<sqlite::page_hash> block_hashes(std::uint32_t first, std::uint32_t block_pages,
                                                      std::uint32_t count) const = 0;
  // The newest committed image of a page that the capture knows, which may be newer than a subscription's
  // position: the transaction that wrote it is then still to come and overrides it. While a checkpoint of the
  // application writes this page it may be torn or old: it counts only if it hashes as hashes() says, and is
  // to be read again otherwise. kOutOfRange past the end.
  virtual absl::StatusOr<page_image> read_page(std::uint32_t number) const = 0;
  // Whether a look at the database that began at `asked` or later found everything that was committed before
  // it, and delivered it to the subscriptions. False asks for such a look: come again in a few milliseconds.
  // A source that knows each commit as it happens always has.
  virtual bool looked_since([[maybe_unused]] std::chrono::steady_clock::time_point asked) { return true; }
  // True: pages with the hash zero are all zeros, and they travel only where the receiver may have something
  // else. Its receiver is a sparse sink.
  virtual bool sparse() const { return false; }
  // From this very instant on: base() is the state, next() whatever commits after it. Fails unless `ready`.
  virtual absl::StatusOr<std::unique_ptr<source_subscription>> subscribe() = 0;
};

}  // namespace understudy::channel
