#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

namespace understudy::files {

// Where one file stream stands, for status. A value: copied out of either end's session.
struct files_progress {
  enum class phase {
    comparing,    // listing and comparing; what differs travels: files and bytes done of the totals
    streaming,    // in step: every change follows as it happens
    held,         // asked to send nothing; goes on watching
    unavailable,  // the source cannot be read: `reason` says why; nothing is deleted
    drained,      // everything was sent and is durable
  };
  phase now = phase::comparing;
  std::uint64_t files_done = 0;  // of the comparison under way
  std::uint64_t files_total = 0;
  std::uint64_t bytes_done = 0;
  std::uint64_t bytes_total = 0;
  std::uint64_t durable = 0;  // last change that survives a power cut, in the source's numbering
  std::uint64_t entries = 0;  // in the source's tree, when it was last in step
  // The copy contained everything that had changed before this moment of the source's clock.
  std::chrono::system_clock::time_point current_at;
  std::uint64_t refused = 0;  // changes that the receiver refused in this stream
  std::string reason;         // of `unavailable`, or of the last refusal; empty: there was none
  // At a failback: files that were changed on both sides.
  enum class verdict {
    none,    // the receiver has not compared yet
    so_far,  // the stand-in still writes
    final,   // after `drained`
  };
  verdict judged = verdict::none;
  std::uint64_t diverged = 0;
  std::vector<std::string> diverged_paths;           // the first of them
  std::chrono::steady_clock::time_point last_heard;  // last message of the other end
};

const char* to_string(files_progress::phase phase);

}  // namespace understudy::files
