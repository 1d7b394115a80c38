#pragma once

#include <chrono>

namespace understudy::channel {

// Now, on both clocks: deadlines are steady, what is shown to people is not. A parameter wherever time
// matters.
struct moment {
  std::chrono::steady_clock::time_point steady;
  std::chrono::system_clock::time_point wall;
};

inline moment now() {
  return {std::chrono::steady_clock::now(), std::chrono::system_clock::now()};
}

}  // namespace understudy::channel
