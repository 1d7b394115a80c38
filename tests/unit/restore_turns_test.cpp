#include "agent-primary/service/restore_turns.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <future>

#include "tests/support/wait.hpp"

namespace understudy::service {
namespace {

using namespace std::chrono_literals;

const std::function<bool()> patient = [] { return true; };

TEST(restore_turns, a_newer_one_ends_the_present_one_and_waits_for_it) {
  restore_turns turns;
  std::atomic<int> told{0};
  auto first = turns.enter(
      "main", [&] { ++told; }, patient);
  ASSERT_TRUE(first.ok());
  auto second = std::async(std::launch::async, [&] {
    return turns.enter(
        "main", [] {}, patient);
  });
  ASSERT_TRUE(test::wait_until([&] { return told > 0; }, 20s));
  EXPECT_EQ(second.wait_for(0s), std::future_status::timeout) << "two at once";
  first->reset();
  EXPECT_TRUE(second.get().ok());
  EXPECT_TRUE(turns
                  .enter(
                      "other", [] {}, patient)
                  .ok())
      << "each database for itself";
}

TEST(restore_turns, of_those_who_wait_only_the_newest_gets_its_turn) {
  restore_turns turns;
  auto first = turns.enter(
      "main", [] {}, patient);
  std::atomic<bool> waits{false};
  auto second = std::async(std::launch::async, [&] {
    return turns.enter(
        "main", [] {},
        [&] {
          waits = true;
          return true;
        });
  });
  ASSERT_TRUE(test::wait_until([&] { return waits.load(); }, 20s));
  auto third = std::async(std::launch::async, [&] {
    return turns.enter(
        "main", [] {}, patient);
  });
  EXPECT_TRUE(absl::IsAborted(second.get().status()));
  first->reset();
  EXPECT_TRUE(third.get().ok());
}

TEST(restore_turns, a_caller_that_went_away_waits_no_longer) {
  restore_turns turns;
  const auto first = turns.enter(
      "main", [] {}, patient);
  EXPECT_TRUE(absl::IsCancelled(turns
                                    .enter(
                                        "main", [] {}, [] { return false; })
                                    .status()));
}

}  // namespace
}  // namespace understudy::service
