#pragma once

// The receiving end of one database: what the channel needs from a copy, wherever it lies (on the failover
// host while it protects; on the primary, beside the old database, at failback).

#include <chrono>
#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "common/channel/database_source.hpp"
#include "common/sqlite/page_hash.hpp"

namespace understudy::channel {

struct sink_state {
  bool exists = false;          // false: nothing there yet, any heal is a heal against nothing
  std::uint32_t page_size = 0;  // bytes
  std::uint32_t database_pages = 0;
  sqlite::page_hash combined;
};

// What a comparison with the source begins with.
struct known_image {
  bool exists = false;
  std::uint32_t page_size = 0;
  std::uint32_t database_pages = 0;
  sqlite::page_hash combined;
  std::uint32_t kept_pages = 0;  // brought by a heal that was cut off; `combined` means nothing then
};

// One transaction's frame, without its pages.
struct transaction_header {
  std::uint64_t number = 0;
  std::uint32_t page_size = 0;
  std::uint32_t database_pages = 0;
  sqlite::page_hash hash_before;
  sqlite::page_hash hash_after;
};

enum class heal_way {
  in_place,  // as one transaction through the copy's own -wal: little, which is brought anew when it is cut
             // off
  // Into a new file beside it, which is kept when the heal is cut off, and then synced and renamed; or what
  // was brought goes through the -wal, where that is no more than a quarter of the pages.
  new_file,
};

// Used by one thread at a time. Every call is idempotent in effect: what was not committed durably is
// forgotten by abandon() or a crash, and the copy shows the last committed prefix throughout.
class database_sink {
 public:
  virtual ~database_sink() = default;

  virtual sink_state state() const = 0;
  // The copy, or the copy with what a heal that was cut off has brought. The next heal brings what differs
  // from this, and goes on with that one, whatever its way, when it has that one's page size.
  virtual known_image known() const {
    const sink_state now = state();
    return {now.exists, now.page_size, now.database_pages, now.combined, 0};
  }
  // Of the known image.
  virtual std::vector<sqlite::page_hash> hashes(std::uint32_t first, std::uint32_t count) const = 0;
  virtual std::vector<sqlite::page_hash> block_hashes(std::uint32_t first, std::uint32_t block_pages,
                                                      std::uint32_t count) const = 0;

  // Appends pages of the transaction that is being received; nothing is visible yet. Parts of one transaction
  // follow each other; the same page may come again and then counts.
  virtual absl::Status add_pages(std::uint32_t page_size, std::span<const page_image> pages) = 0;
  // Ends the transaction. kFailedPrecondition when hash_before is not the copy's register (it builds on
  // something else: heal), kDataLoss when hash_after is not what the pages give; the copy then is unchanged.
  virtual absl::Status end_transaction(const transaction_header& header) = 0;
  // Makes everything ended so far durable and visible to readers. One fdatasync for many transactions.
  virtual absl::Status commit_durably() = 0;

  // A heal replaces any number of pages as one transaction: begin_heal, add_pages..., end_heal,
  // commit_durably. With new_file, pages that the heal does not bring are taken over from the present copy.
  // Here and in end_transaction, kInvalidArgument when database_pages exceeds the pages present and brought
  // by more than the lock page.
  virtual absl::Status begin_heal(heal_way way, std::uint32_t page_size) = 0;
  virtual absl::Status end_heal(std::uint32_t database_pages, const sqlite::page_hash& hash_after) = 0;

  // True: pages that are all zeros are not kept, and have the hash zero; a size costs nothing.
  virtual bool sparse() const { return false; }

  // The source was found to have the same image, so that nothing comes of it.
  virtual absl::Status found_equal() { return absl::OkStatus(); }

  // When the source saw what is ended next, by its clock; told before end_transaction and end_heal. For who
  // keeps the past of a copy.
  virtual void captured_at(std::chrono::system_clock::time_point) {}

  // Forgets everything that was not ended. What a heal into a new file has brought is kept for the next one,
  // if it can be: it shows in known() only.
  virtual void abandon() = 0;
};

}  // namespace understudy::channel
