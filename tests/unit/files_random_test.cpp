// Trees that change at random while everything else fails at random: in the end both are the same, metadata
// included.
//   UNDERSTUDY_SEED=N         begins with this seed instead of 1; a failure prints the one to begin with
//   UNDERSTUDY_OPERATIONS=N   so many operations; else 20,000, and 1,000,000 with UNDERSTUDY_SOAK

#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <random>

#include "tests/support/files_pair.hpp"
#include "tests/support/random_changes.hpp"
#include "tests/support/wait.hpp"

namespace understudy::test {
namespace {

constexpr unsigned operations_per_round = 100;

unsigned number_from(const char* name, unsigned otherwise) {
  const char* set = std::getenv(name);
  return set == nullptr ? otherwise : static_cast<unsigned>(std::strtoul(set, nullptr, 10));
}

class file_random : public ::testing::Test {
 protected:
  enum class mishap { none, cut, receiver_restarts, sender_restarts, events_lost, copy_handed_over };
  static constexpr unsigned mishaps = 6;

  void happen(mishap what) {
    switch (what) {
      case mishap::none:
        return;
      case mishap::cut:
        return pair.connect();
      case mishap::receiver_restarts:
        pair.disconnect();
        pair.sink.reset();
        return pair.connect();
      case mishap::sender_restarts:
        pair.disconnect();
        pair.source.reset();
        return pair.connect();
      case mishap::events_lost:
        lose_events = true;
        return;
      case mishap::copy_handed_over:  // and back, with nothing written to it
        pair.disconnect();
        ASSERT_TRUE(pair.sink->forget().ok());
        return pair.connect();
    }
  }
  void step_some(unsigned most) {
    for (unsigned i = 0; i < most; ++i) {
      bool moved = false;
      const absl::Status stepped = pair.step(moved);
      ASSERT_TRUE(stepped.ok() || absl::IsAborted(stepped)) << message_of(stepped);
      if (!stepped.ok()) pair.connect();
    }
  }

  std::atomic<bool> lose_events{false};
  file_pair pair;
};

TEST_F(file_random, whatever_happens_and_fails_leaves_no_difference) {
  const bool soak = std::getenv("UNDERSTUDY_SOAK") != nullptr;
  const unsigned rounds =
      number_from("UNDERSTUDY_OPERATIONS", soak ? 1'000'000 : 20'000) / operations_per_round;
  const unsigned first = number_from("UNDERSTUDY_SEED", 1);
  pair.source_options.watcher.before_read = [&] { return lose_events.exchange(false); };
  pair.connect();
  for (unsigned seed = first; seed < first + rounds; ++seed) {
    SCOPED_TRACE("UNDERSTUDY_SEED=" + std::to_string(seed));
    std::mt19937 random(seed);
    random_changes changes(pair.base(), seed);
    for (unsigned i = 0; i < operations_per_round; ++i) {
      changes.one();
      if (random() % 8 == 0) {
        ASSERT_NO_FATAL_FAILURE(step_some(random() % 3));
      }
      if (random() % 40 == 0) {
        ASSERT_NO_FATAL_FAILURE(happen(static_cast<mishap>(random() % mishaps)));
      }
    }
    ASSERT_NO_FATAL_FAILURE(pair.expect_same());
    if (HasFailure()) return;
  }
}

TEST_F(file_random, changes_are_followed_by_events_alone) {
  pair.connect();
  pair.expect_same();
  for (unsigned seed = 1000; seed < 1010; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    random_changes changes(pair.base(), seed);
    for (int i = 0; i < 60; ++i) changes.one();
    ASSERT_NO_FATAL_FAILURE(pair.follow_until_same());
  }
}

}  // namespace
}  // namespace understudy::test
