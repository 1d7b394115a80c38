#pragma once

// A limit of bytes per second: a bucket that fills at that rate, up to a fifth of a second, and may be
// overdrawn by the message that empties it. The next one waits until it is in credit again, so that the mean
// never exceeds the limit.

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>

namespace understudy::files {

class pace {
 public:
  using time = std::chrono::steady_clock::time_point;

  // 0: none.
  void set_limit(std::uint64_t bytes_per_second, time now) {
    limit_ = bytes_per_second;
    filled_until_ = now;
  }
  bool may_send(time now) const { return limit_ == 0 || now >= filled_until_; }
  time next_at() const { return limit_ == 0 ? time::min() : filled_until_; }
  void sent(std::size_t bytes, time now = std::chrono::steady_clock::now()) {
    if (limit_ == 0) return;
    filled_until_ = std::max(filled_until_, now - burst) +
                    std::chrono::nanoseconds(static_cast<std::int64_t>(static_cast<double>(bytes) * 1e9 /
                                                                       static_cast<double>(limit_)));
  }
  // A tenth of a second's worth, so that nothing else waits long behind a piece.
  std::size_t piece_bytes() const {
    constexpr std::size_t least = 16 * 1024;
    constexpr std::size_t most = 1 << 20;
    return limit_ == 0 ? most : std::clamp<std::size_t>(limit_ / 10, least, most);
  }

 private:
  static constexpr std::chrono::milliseconds burst{200};
  std::uint64_t limit_ = 0;
  time filled_until_;  // by what was sent so far
};

}  // namespace understudy::files
