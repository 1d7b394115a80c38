#pragma once

#include <algorithm>
#include <cstdint>

namespace understudy::os {

// Bytes of a disk of so many that stay free for what else is on it, the copies before all: what can be done
// without never takes them.
constexpr std::uint64_t spare_space(std::uint64_t disk_bytes) {
  constexpr std::uint64_t most = 1ull << 30;
  constexpr std::uint64_t share = 20;  // or a twentieth of it, where that is less
  return std::min(most, disk_bytes / share);
}

}  // namespace understudy::os
