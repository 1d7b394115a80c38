#pragma once

// A copy's own -wal: valid frames for stock SQLite, appended by us alone. Three positions: `end` is the last
// commit that is durable; `last commit` the last one written; `tail` the last frame written. What lies
// between the last commit and the tail is invisible to readers, as a transaction that spilled is in SQLite
// itself.
//
// No locks are taken here; the caller holds the wal-index's WRITE lock around everything that writes.

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/os/file_system.hpp"
#include "common/sqlite/wal_format.hpp"

namespace understudy::replica {

// A page on its way into the -wal.
struct unwritten_frame {
  std::uint32_t page = 0;
  std::uint32_t commit_pages = 0;  // of the last frame of a transaction: database size after it
  std::string bytes;
};

class copy_wal {
 public:
  struct position {
    std::uint32_t frame = 0;
    sqlite::wal_checksum chain;
    std::uint32_t database_pages = 0;  // as of that commit; 0 with frame 0
    friend bool operator==(const position&, const position&) = default;
  };

  // Opens or creates; nothing is read. `created` tells the caller that the directory needs a sync.
  static absl::StatusOr<std::unique_ptr<copy_wal>> open(os::directory& directory, const std::string& name,
                                                        const struct ::stat& like, bool& created);

  // The -wal of somebody else, for reading: recover() then changes and syncs nothing.
  static absl::StatusOr<std::unique_ptr<copy_wal>> open_to_read(os::directory& directory,
                                                                const std::string& name);

  // Reads the valid prefix up to its last commit; all positions are there afterwards. A frame of an
  // unfinished transaction behind it is made invalid.
  absl::Status recover();
  // 0 when there is no valid header.
  std::uint32_t page_size() const { return header_ ? header_->page_size : 0; }
  const position& end() const { return end_; }
  bool has_unsynced() const { return tail_ != end_; }
  bool has_unsynced_commit() const { return last_commit_ != end_; }
  bool has_uncommitted() const { return tail_ != last_commit_; }
  std::uint64_t bytes() const {
    return header_ ? sqlite::frame_offset(tail_.frame + 1, header_->page_size) : 0;
  }

  // False when the file is not as we left it: another program reset it, appended to it, or replaced it.
  absl::StatusOr<bool> is_untouched();

  // Appends after the tail, with a header first when there is none. Not durable.
  absl::Status write(std::span<const unwritten_frame> frames, std::uint32_t page_size);
  // Makes everything written durable; the last commit becomes the end.
  absl::Status sync();
  // Forgets what follows the last commit.
  absl::Status drop_uncommitted();

  // The newest committed frame of a page at the end; empty: the page is in the database file.
  std::optional<std::uint32_t> find(std::uint32_t page) const;
  // The page of each frame in (after, upto].
  std::span<const std::uint32_t> pages(std::uint32_t after, std::uint32_t upto) const {
    return std::span(pages_).subspan(after, upto - after);
  }
  // Frame and database size of each commit since the -wal was started.
  std::span<const std::pair<std::uint32_t, std::uint32_t>> commits() const { return commits_; }
  const std::shared_ptr<os::file>& file() const { return file_; }
  // Pages with their newest frame among frames (after, upto].
  std::unordered_map<std::uint32_t, std::uint32_t> newest(std::uint32_t after, std::uint32_t upto) const;
  absl::Status read_page(std::uint32_t frame, std::span<std::byte> page);

  // Everything is folded and the database file synced: starts over with new salts. The header is durable
  // before any frame follows, else an old header with old frames under a few new ones would be a valid -wal
  // of the past.
  absl::Status restart();
  // The same without a header, for a database of any page size; the file is not empty all the same, so that
  // SQLite opens a database whose header does not say WAL with it.
  absl::Status clear();

 private:
  explicit copy_wal(std::unique_ptr<os::file> f) : file_(std::move(f)) {}

  std::uint64_t frame_bytes() const { return sqlite::wal_frame_header_bytes + header_->page_size; }
  absl::Status make_header(std::uint32_t page_size);
  absl::Status reserve(std::uint64_t size);
  void forget_frames();

  std::shared_ptr<os::file> file_;
  bool read_only_ = false;
  std::optional<sqlite::wal_header> header_;
  std::array<std::byte, sqlite::wal_header_bytes> header_bytes_{};
  position end_;
  position last_commit_;
  position tail_;
  std::uint64_t reserved_ = 0;        // file size
  std::vector<std::uint32_t> pages_;  // page of frame i + 1
  std::vector<std::pair<std::uint32_t, std::uint32_t>> commits_;
  std::unordered_map<std::uint32_t, std::uint32_t> index_;  // page -> newest frame up to end_
  std::array<std::byte, sqlite::wal_frame_header_bytes> first_uncommitted_{};
};

}  // namespace understudy::replica
