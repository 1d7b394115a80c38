#include <gtest/gtest.h>

#include <vector>

#include "agent-failover/network/claim_timing.hpp"
#include "agent-failover/network/probe_schedule.hpp"

namespace understudy::network {
namespace {

using namespace std::chrono_literals;

const monotonic_time start{1000s};
const probe_timing defaults{};

TEST(probe_schedule, slots_lie_on_a_grid_however_late_each_was_served) {
  probe_schedule schedule(start, defaults);
  for (std::uint64_t slot = 0; slot < 1000; ++slot) {
    EXPECT_EQ(schedule.next_wake(), start + slot * 2s);
    const auto now = start + slot * 2s + std::chrono::milliseconds{slot % 400};
    const auto due = schedule.due(now);
    ASSERT_EQ(due.send, slot);
    EXPECT_EQ(due.skipped, 0U);
    EXPECT_EQ(due.lag, std::chrono::milliseconds{slot % 400});
    schedule.sent(slot, slot, now, now);
    EXPECT_EQ(schedule.next_wake(), now + 1s);
    ASSERT_TRUE(schedule.accept(slot, slot, now + 1ms));
  }
}

TEST(probe_schedule, a_probe_times_out_at_its_deadline_and_not_before) {
  probe_schedule schedule(start, defaults);
  schedule.due(start);
  schedule.sent(0, 5, start, start);
  EXPECT_TRUE(schedule.expire(start + 999ms).empty());
  const auto verdicts = schedule.expire(start + 1000ms);
  ASSERT_EQ(verdicts.size(), 1U);
  EXPECT_EQ(verdicts[0].slot, 0U);
  EXPECT_FALSE(verdicts[0].late);
  EXPECT_FALSE(schedule.accept(0, 5, start + 500ms)) << "the verdict stands";
}

TEST(probe_schedule, the_timeout_counts_from_the_end_of_sending) {
  probe_schedule schedule(start, defaults);
  schedule.due(start);
  schedule.sent(0, 5, start, start + 300ms);
  EXPECT_TRUE(schedule.expire(start + 1299ms).empty());
  EXPECT_EQ(schedule.accept(0, 5, start + 1300ms), start);
}

TEST(probe_schedule, only_the_right_reply_in_time_counts) {
  probe_schedule schedule(start, defaults);
  schedule.due(start);
  schedule.sent(0, 5, start, start);
  EXPECT_FALSE(schedule.accept(0, 6, start + 1ms)) << "wrong nonce";
  EXPECT_FALSE(schedule.accept(1, 5, start + 1ms)) << "wrong slot";
  EXPECT_FALSE(schedule.accept(0, 5, start + 1001ms)) << "too late";
  EXPECT_EQ(schedule.accept(0, 5, start + 1000ms), start);
  EXPECT_FALSE(schedule.accept(0, 5, start + 1000ms)) << "twice";
}

TEST(probe_schedule, a_freeze_is_the_hosts_own_lateness) {
  probe_schedule schedule(start, defaults);
  schedule.due(start);
  schedule.sent(0, 5, start, start);
  const auto thaw = start + 60s + 700ms;
  const auto verdicts = schedule.expire(thaw);
  ASSERT_EQ(verdicts.size(), 1U);
  EXPECT_TRUE(verdicts[0].late);
  const auto due = schedule.due(thaw);
  EXPECT_FALSE(due.send) << "700 ms after slot 30 a probe says nothing about slot 30";
  EXPECT_EQ(due.skipped, 30U);
  EXPECT_EQ(due.first_skipped, 1U);
  EXPECT_EQ(schedule.next_slot(), 31U);
  EXPECT_EQ(schedule.next_wake(), start + 62s) << "back on the grid";
}

TEST(probe_schedule, after_a_freeze_a_slot_that_is_just_due_is_sent) {
  probe_schedule schedule(start, defaults);
  const auto due = schedule.due(start + 60s + 100ms);
  EXPECT_EQ(due.send, 30U);
  EXPECT_EQ(due.skipped, 30U);
}

TEST(acd_schedule, asks_three_times_and_then_waits) {
  acd_schedule schedule({}, start, [](milliseconds, milliseconds most) { return most; });
  using step = acd_schedule::step;
  EXPECT_EQ(schedule.tick(start), step::wait);
  EXPECT_EQ(schedule.tick(start + 1s), step::probe);
  EXPECT_EQ(schedule.tick(start + 1s), step::wait);
  EXPECT_EQ(schedule.tick(start + 3s), step::probe);
  EXPECT_EQ(schedule.tick(start + 5s), step::probe);
  EXPECT_EQ(schedule.next_wake(), start + 7s);
  EXPECT_EQ(schedule.tick(start + 6999ms), step::wait);
  EXPECT_EQ(schedule.tick(start + 7s), step::free);
}

TEST(announce_schedule, often_at_first_then_every_minute) {
  announce_schedule schedule(start);
  std::vector<std::chrono::milliseconds> moments;
  for (auto now = start; now <= start + 130s; now += 10ms)
    if (schedule.due(now)) moments.push_back(std::chrono::duration_cast<milliseconds>(now - start));
  EXPECT_EQ(moments,
            (std::vector<milliseconds>{0ms, 200ms, 500ms, 1000ms, 2000ms, 5000ms, 65'000ms, 125'000ms}));
}

TEST(announce_schedule, what_was_slept_through_is_made_up_for_once) {
  announce_schedule schedule(start);
  EXPECT_TRUE(schedule.due(start + 3s));
  EXPECT_FALSE(schedule.due(start + 3s));
  EXPECT_EQ(schedule.next_wake(), start + 5s);
}

}  // namespace
}  // namespace understudy::network
