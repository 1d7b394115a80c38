#pragma once

// Where the power can fail while a scenario runs: each sync point, and each operation between them.

#include <fmt/core.h>
#include <gtest/gtest.h>

#include <array>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <span>

#include "tests/support/faulty_file_system.hpp"

namespace understudy::test {

// Runs the scenario on a file system that `arm` prepared, and checks what each policy leaves of it.
using power_cut_check = std::function<void(const std::function<void(faulty_file_system&)>& arm,
                                           std::uint64_t seed, std::span<const unsynced> policies)>;

struct power_cut_places {
  std::uint64_t sync_points = 0;
  std::uint64_t operations = 0;
};

// `points`: how many sync points the whole scenario has.
inline void cut_at_every_sync_point(std::uint64_t points, const power_cut_check& check) {
  constexpr std::array policies{unsynced::lost, unsynced::kept, unsynced::random, unsynced::torn};
  ASSERT_GT(points, 10u);
  const std::uint64_t rounds = std::getenv("UNDERSTUDY_SOAK") != nullptr ? 25 : 1;
  for (std::uint64_t round = 0; round < rounds; ++round) {
    for (std::uint64_t n = 1; n <= points + 1; ++n) {
      SCOPED_TRACE(fmt::format("sync point {} of {}", n, points));
      check([n](auto& fs) { fs.cut_power_at(n); }, n + 1000 * round, policies);
      if (::testing::Test::HasFatalFailure()) return;
    }
  }
}

inline void cut_at_every_operation(std::uint64_t operations, std::uint64_t step,
                                   const power_cut_check& check) {
  constexpr std::array policies{unsynced::random, unsynced::torn};
  for (std::uint64_t n = 1; n <= operations; n += step) {
    SCOPED_TRACE(fmt::format("operation {} of {}", n, operations));
    check([n](auto& fs) { fs.cut_power_at_operation(n); }, n, policies);
    if (::testing::Test::HasFatalFailure()) return;
  }
}

}  // namespace understudy::test
