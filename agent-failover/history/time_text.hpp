#pragma once

#include <fmt/chrono.h>

#include <chrono>
#include <string>

namespace understudy::history {

// "2026-11-22T14:03:07.250Z"
inline std::string time_text(std::chrono::system_clock::time_point time) {
  const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(time.time_since_epoch()).count();
  const std::time_t seconds = static_cast<std::time_t>(ms / 1000);
  return fmt::format("{:%Y-%m-%dT%H:%M:%S}.{:03}Z", fmt::gmtime(seconds), ms % 1000);
}

}  // namespace understudy::history
