#include "common/actor/supervise.hpp"

#include <caf/deep_to_string.hpp>
#include <caf/error.hpp>

#include <algorithm>

namespace understudy::actors {

std::chrono::milliseconds restart_budget::after_end(std::chrono::steady_clock::time_point now) {
  if (used_ == 0 || now - window_begin_ > window_) {
    used_ = 0;
    window_begin_ = now;
  }
  if (used_ >= most_) return std::chrono::milliseconds{-1};
  const unsigned doublings = std::min(used_, 16u);
  ++used_;
  return std::min(longest_pause_, first_pause_ * (1 << doublings));
}

std::string text_of(const caf::error& error) {
  return caf::deep_to_string(error);
}

}  // namespace understudy::actors
