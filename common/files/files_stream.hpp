#pragma once

// One file stream as its owner at the failover host sees it, whichever way the files go.

#include <functional>

#include "absl/status/status.h"
#include "common/files/files_progress.hpp"

namespace understudy::files {

// Made on the stream's threads: post onwards, and never destroy the stream in one.
struct files_callbacks {
  // At every change of phase, otherwise at most every 50 ms.
  std::function<void(const files_progress&)> on_progress;
  // Exactly once, as the last call. Ok after a planned end (drained, then stopped); kCancelled after stop();
  // kAborted: connect again at once, and compare; kUnavailable: the connection broke, connect again.
  std::function<void(const absl::Status&)> on_end;
};

// Destroying it stops it and waits for its threads.
class files_stream {
 public:
  virtual ~files_stream() = default;
  // Asks for the planned end: once everything is durable, progress shows `drained`.
  virtual void drain() = 0;
  // While held nothing is changed on the copy; the source goes on watching, and catches up at once
  // afterwards.
  virtual void hold(bool held) = 0;
  virtual void stop() = 0;
  virtual files_progress progress() const = 0;
};

}  // namespace understudy::files
