#pragma once

// Reads a log while it is written: blocks in their order, over the ends of segments, up to the newest
// complete change. Files that it has opened stay readable when the log drops them. One thread.

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "agent-failover/history/block.hpp"
#include "agent-failover/history/change_log.hpp"
#include "common/os/file_system.hpp"

namespace understudy::history {

class change_log_reader {
 public:
  explicit change_log_reader(const change_log& of) : log_(of) {}

  // The block at `at`, and moves `at` behind it. Empty: there is none yet. kAborted: the log has dropped that
  // part.
  absl::StatusOr<std::optional<block>> next(place& at);
  // The before-images of a block, which lies at `at`.
  absl::StatusOr<std::string> images(const block& b, const place& at);
  // Moves `at` to the first block of change `sequence`; kAborted when it is not there.
  absl::StatusOr<place> find(std::uint64_t sequence);
  // Opens what holds the log from `from` on, so that it stays.
  absl::Status hold(std::uint64_t from_segment);

 private:
  absl::StatusOr<os::file*> file_of(std::uint64_t segment);

  const change_log& log_;
  std::unique_ptr<os::directory> directory_;
  std::map<std::uint64_t, std::unique_ptr<os::file>> files_;
  std::map<std::uint64_t, std::uint64_t> ends_;  // of segments that the log has dropped, as far as known
  std::string buffer_;                           // read ahead
  place buffered_;
};

}  // namespace understudy::history
