#pragma once

// Waiting for a condition with a deadline: the only way a test waits.

#include <chrono>
#include <functional>
#include <thread>

namespace understudy::test {

// True as soon as `condition` holds, false when `deadline` has passed; looks every `step`.
inline bool wait_until(const std::function<bool()>& condition, std::chrono::steady_clock::time_point deadline,
                       std::chrono::milliseconds step = std::chrono::milliseconds{2}) {
  while (!condition()) {
    if (std::chrono::steady_clock::now() >= deadline) return condition();
    std::this_thread::sleep_for(step);
  }
  return true;
}

inline bool wait_until(const std::function<bool()>& condition, std::chrono::milliseconds within,
                       std::chrono::milliseconds step = std::chrono::milliseconds{2}) {
  return wait_until(condition, std::chrono::steady_clock::now() + within, step);
}

}  // namespace understudy::test
