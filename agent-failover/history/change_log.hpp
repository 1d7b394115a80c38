#pragma once

// The log of one database's history: segment files in a directory of its own, named after their first
// sequence. Each change carries the images of the pages before it, so that the newest state and the changes
// after state N give state N: the oldest segment can be dropped at any time, and no base copy is kept.
//
// Crash-safe: what was not synced may be cut off at the next open, back to the end of a complete change; what
// is before stays. The order is by syncing a segment before the next one is begun.
//
// Threads: the functions that change it are one thread's; the others may be called from any.

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "agent-failover/history/block.hpp"
#include "agent-failover/history/change.hpp"
#include "common/os/file_system.hpp"

namespace understudy::history {

// Where a block lies. `segment` is the segment's first sequence.
struct place {
  std::uint64_t segment = 0;
  std::uint64_t offset = 0;
  friend bool operator==(const place&, const place&) = default;
};

class change_log {
 public:
  // Makes the directory. What lies there and cannot be used is removed: it is derived data.
  static absl::StatusOr<std::unique_ptr<change_log>> open(os::file_system& fs, std::string directory,
                                                          std::uint64_t segment_bytes);

  // The state it ends with; empty: there is none.
  std::optional<change> last() const;

  // Writing. A change is appended as its blocks, in order. write() hands all of them to the file, show() lets
  // readers see the complete ones, flush() does both.
  // Drops all before it, and numbers it. Durable on return. A `begin` with time_estimated is an interruption.
  absl::Status begin(change what, std::string_view reason);
  absl::Status append(const block& b, std::string_view images, bool compress);
  absl::Status write();
  void show();
  absl::Status flush();
  absl::Status drop_unshown();
  // The segment would be ended now, were everything in it shown.
  bool full() const { return file_ != nullptr && written_ + buffer_.size() >= segment_bytes_; }
  absl::Status sync();
  absl::Status rotate();       // ends the segment, if it has a change; everything is shown
  absl::Status drop_oldest();  // kFailedPrecondition: the rest holds no change
  // On the disk, with what is not shown yet. Any thread.
  std::uint64_t bytes() const;
  // Removes everything, the directory too.
  static absl::Status remove(os::file_system& fs, const std::string& directory);

  // What there is. States first..last can be had.
  struct extent {
    bool exists = false;
    std::uint64_t first = 0;
    std::uint64_t last = 0;
    clock_time begins_at;
    change newest;
    std::uint64_t bytes = 0;
    std::size_t segments = 0;
    clock_time oldest_segment_ends_at;  // by the host's clock; meaningful with two segments or more
    clock_time newest_segment_since;    // when the present segment was begun
    std::string began_because;          // of its first change; empty when that was dropped meanwhile
    bool interrupted = false;           // it was flagged so
  };
  extent range() const;
  // A place at or before the first block of change `sequence`, which is in (first, last].
  std::optional<place> near(std::uint64_t sequence) const;
  // A place at or before the first change that was committed after `time`; empty: there is none.
  std::optional<place> near(clock_time time) const;
  // The first block of the segment after this one.
  std::optional<place> after_segment(std::uint64_t segment) const;
  // Up to where this segment's blocks are complete changes.
  std::uint64_t end_of(std::uint64_t segment) const;
  // Reading uses a directory of the reader's own.
  absl::StatusOr<std::unique_ptr<os::directory>> open_directory() const { return fs_.open_root(directory_); }
  static std::string file_name(std::uint64_t segment);

 private:
  struct segment {
    std::uint64_t first = 0;
    std::uint64_t last = 0;  // first - 1: no change yet
    std::uint64_t end = 0;   // bytes of header and complete changes
    std::uint64_t file_bytes = 0;
    bool begins = false;  // its first change is a `begin`
    bool sealed = false;
    clock_time before_committed_at;
    clock_time since;         // begun or, after a restart, found
    clock_time last_applied;  // of its last change
    std::vector<mark> marks;
  };

  change_log(os::file_system& fs, std::string directory, std::uint64_t segment_bytes)
      : fs_(fs), directory_(std::move(directory)), segment_bytes_(segment_bytes) {}

  absl::Status recover();
  absl::StatusOr<segment> examine(const std::string& name, bool newest);
  absl::StatusOr<bool> read_index(os::file& f, std::uint64_t size, segment& s);
  // Reads blocks from `s.end` on; stops at the first that is not whole (verifying payloads where asked).
  absl::Status scan(os::file& f, std::uint64_t size, bool verify, segment& s);
  absl::Status start_segment(std::uint64_t first, const change& before);
  static void note(segment& s, const change& c, std::uint64_t offset);

  os::file_system& fs_;
  const std::string directory_;
  const std::uint64_t segment_bytes_;
  std::unique_ptr<os::directory> held_;
  std::unique_ptr<os::file> file_;  // of the last segment; empty when that is sealed
  bool names_unsynced_ = false;
  std::string buffer_;           // appended and not written
  std::uint64_t written_ = 0;    // of the last segment
  std::uint64_t change_at_ = 0;  // offset of the change under way
  struct finished {
    change what;
    std::uint64_t offset;
    std::uint64_t end;
  };
  std::vector<finished> finished_;  // complete in the buffer, not shown yet
  bool unfinished_ = false;

  mutable std::mutex mutex_;  // guards what follows
  std::vector<segment> segments_;
  std::optional<change> last_;
  std::string began_because_;
  bool interrupted_ = false;  // the flag of its first change
};

}  // namespace understudy::history
