#pragma once

// The copy as of the newest state in the log, while the copy itself is further on: a page's newest recorded
// frame in the -wal or, when it has none, the database file, into which nothing newer is folded (the recorder
// sees to it).
//
// Threads: any; whoever needs several answers to belong together holds lock() meanwhile.

#include <cstdint>
#include <mutex>
#include <span>
#include <unordered_map>
#include <vector>

#include "absl/status/status.h"
#include "agent-failover/replica/copy_observer.hpp"

namespace understudy::history {

using frame_map = std::unordered_map<std::uint32_t, std::uint32_t>;  // page -> frame of the -wal

class current_image {
 public:
  std::unique_lock<std::mutex> lock() const { return std::unique_lock(mutex_); }

  // All that follows: under lock().

  // False: the copy was handed over, or its pages went on without being recorded.
  bool good() const { return good_; }
  void spoil() { good_ = false; }
  void heal() { good_ = image_.database != nullptr; }
  // Grows whenever frame numbers of before are void.
  std::uint64_t generation() const { return generation_; }

  void set(replica::observed_image image, frame_map frames);
  void set_files(const replica::observed_image& image) { image_ = image; }
  void restart();  // everything is in the database file
  void add(const frame_map& frames);
  void drop();

  // `newer` overrides the recorded frames. Pages past the end read as zeros.
  absl::Status read(std::uint32_t page, std::span<std::byte> bytes, const frame_map* newer = nullptr) const;
  // Pages in a row, as many as `bytes` has.
  absl::Status read_run(std::uint32_t first, std::span<std::byte> bytes) const;
  absl::Status read_frame(std::uint32_t frame, std::span<std::byte> bytes) const;
  absl::Status read_stored(std::uint32_t page, std::span<std::byte> bytes) const;
  const replica::observed_image& image() const { return image_; }

 private:
  mutable std::mutex mutex_;
  bool good_ = false;
  std::uint64_t generation_ = 1;
  replica::observed_image image_;
  frame_map frames_;
};

}  // namespace understudy::history
