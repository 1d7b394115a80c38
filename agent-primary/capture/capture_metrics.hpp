#pragma once

#include <chrono>
#include <cstdint>

namespace understudy::capture {

// Counters of one captured database; they only grow, except those marked as gauges.
struct capture_metrics {
  std::uint64_t commits = 0;        // transactions captured from frames
  std::uint64_t frames = 0;         // frames read and verified
  std::uint64_t resets = 0;         // log generations followed across a reset
  std::uint64_t short_logs = 0;     // logs read out after the application had deleted them
  std::uint64_t unseen_logs = 0;    // logs that came and went unread (harmless unless also a gap)
  std::uint64_t rescued_tails = 0;  // ends of a generation that were read after its reset
  std::uint64_t gaps = 0;           // continuity lost, whatever the reason
  std::uint64_t scans = 0;          // whole-file scans completed
  std::uint64_t synthetic = 0;      // changes found by scanning (rollback-journal mode), one per change
  std::uint64_t pins = 0;           // times the pin was taken
  std::uint64_t pin_timeouts = 0;   // of these, given up at the limit
  std::chrono::microseconds longest_pin{0};
  std::uint64_t verified_pages = 0;  // of the database file, found as they were captured
  std::uint64_t verify_rounds = 0;   // times the whole file was verified
  std::uint64_t divergences = 0;     // pages of the file that were not as they were last committed
  std::uint64_t damaged_pages =
      0;  // gauge: of these, the ones that are so still; copies keep what was committed
  std::uint64_t lag_frames = 0;  // gauge: published by the application, not yet read
  std::uint64_t log_frames = 0;  // gauge: frames in the present generation
  std::uint64_t polls = 0;       // wal-index reads
};

}  // namespace understudy::capture
