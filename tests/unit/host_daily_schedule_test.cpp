#include <gtest/gtest.h>

#include "agent-failover/server/daily_schedule.hpp"

namespace understudy::server {
namespace {

using std::chrono::hours;

daily_schedule at(const char* time, const char* zone) {
  auto schedule = daily_schedule::parse(std::string(time) + " " + zone);
  EXPECT_TRUE(schedule.ok());
  return *schedule;
}

wall_clock_time utc(const char* text) {
  absl::Time time;
  std::string error;
  EXPECT_TRUE(absl::ParseTime("%Y-%m-%d %H:%M:%S", text, absl::UTCTimeZone(), &time, &error)) << error;
  return absl::ToChronoTime(time);
}

std::string text(wall_clock_time time) {
  return absl::FormatTime("%Y-%m-%d %H:%M:%S", absl::FromChrono(time), absl::UTCTimeZone());
}

TEST(daily_schedule, comes_once_a_day_at_its_time) {
  const auto schedule = at("03:30", "Europe/Vienna");
  EXPECT_EQ(text(next_occurrence(schedule, utc("2026-01-10 00:00:00"))), "2026-01-10 02:30:00");
  EXPECT_EQ(text(next_occurrence(schedule, utc("2026-01-10 02:29:59"))), "2026-01-10 02:30:00");
  EXPECT_EQ(text(next_occurrence(schedule, utc("2026-01-10 02:30:00"))), "2026-01-11 02:30:00");
  EXPECT_EQ(text(next_occurrence(at("23:59", "UTC"), utc("2026-12-31 23:59:00"))), "2027-01-01 23:59:00");
  // Here the zone's day is not UTC's.
  EXPECT_EQ(text(next_occurrence(at("00:10", "Pacific/Auckland"), utc("2026-07-01 11:00:00"))),
            "2026-07-01 12:10:00");
  EXPECT_EQ(text(next_occurrence(at("23:10", "Pacific/Honolulu"), utc("2026-07-01 11:00:00"))),
            "2026-07-02 09:10:00");
}

TEST(daily_schedule, a_time_that_summer_time_leaves_out_happens_at_the_change) {
  // Vienna: 2026-03-29 02:00 becomes 03:00.
  const auto schedule = at("02:30", "Europe/Vienna");
  EXPECT_EQ(text(next_occurrence(schedule, utc("2026-03-28 12:00:00"))), "2026-03-29 01:00:00");
  EXPECT_EQ(text(next_occurrence(schedule, utc("2026-03-29 01:00:00"))), "2026-03-30 00:30:00");
}

TEST(daily_schedule, a_time_that_comes_twice_counts_once) {
  // Vienna: 2026-10-25 03:00 becomes 02:00.
  const auto schedule = at("02:30", "Europe/Vienna");
  EXPECT_EQ(text(next_occurrence(schedule, utc("2026-10-24 12:00:00"))), "2026-10-25 00:30:00");
  EXPECT_EQ(text(next_occurrence(schedule, utc("2026-10-25 00:30:00"))), "2026-10-26 01:30:00");
}

TEST(daily_schedule, changes_of_other_sizes_and_whole_days) {
  // Lord Howe: half an hour, 2026-10-04 02:00 becomes 02:30.
  EXPECT_EQ(text(next_occurrence(at("02:15", "Australia/Lord_Howe"), utc("2026-10-03 10:00:00"))),
            "2026-10-03 15:30:00");
  // Apia left out 2011-12-30: that day's run is at the change, the next one at its time.
  const auto apia = at("03:00", "Pacific/Apia");
  const auto left_out = next_occurrence(apia, utc("2011-12-29 20:00:00"));
  EXPECT_EQ(text(left_out), "2011-12-30 10:00:00");
  EXPECT_EQ(text(next_occurrence(apia, left_out)), "2011-12-30 13:00:00");
}

TEST(daily_schedule, every_day_of_a_decade_once) {
  for (const char* zone : {"Europe/Vienna", "America/St_Johns", "Australia/Lord_Howe", "Africa/Casablanca",
                           "Asia/Kathmandu", "America/Havana"}) {
    for (const char* time : {"00:00", "00:30", "01:59", "02:00", "02:30", "03:00", "23:59"}) {
      const auto schedule = at(time, zone);
      auto now = next_occurrence(schedule, utc("2020-01-01 12:00:00"));
      absl::CivilDay day = absl::ToCivilDay(absl::FromChrono(now), schedule.zone);
      for (int i = 0; i < 3653; ++i) {
        const auto next = next_occurrence(schedule, now);
        ASSERT_GE(next - now, hours{22}) << zone << time << text(now);
        ASSERT_LE(next - now, hours{26}) << zone << time << text(now);
        ASSERT_EQ(absl::ToCivilDay(absl::FromChrono(next), schedule.zone), ++day) << zone << text(next);
        now = next;
      }
    }
  }
}

TEST(daily_schedule, what_was_missed_is_due_until_it_is_done) {
  const auto schedule = at("03:30", "UTC");
  const auto last = utc("2026-05-01 03:30:10");
  EXPECT_FALSE(is_due(schedule, last, utc("2026-05-01 04:00:00")));
  EXPECT_FALSE(is_due(schedule, last, utc("2026-05-02 03:29:59")));
  EXPECT_TRUE(is_due(schedule, last, utc("2026-05-02 03:30:00")));
  // Not monitored then, or the daemon was down: later that day, or a week later, once.
  EXPECT_TRUE(is_due(schedule, last, utc("2026-05-02 22:00:00")));
  EXPECT_TRUE(is_due(schedule, last, utc("2026-05-09 01:00:00")));
  EXPECT_FALSE(is_due(schedule, utc("2026-05-09 01:00:05"), utc("2026-05-09 02:00:00")));
}

TEST(daily_schedule, clocks_that_jump) {
  const auto schedule = at("03:30", "UTC");
  const auto last = utc("2026-05-02 03:30:10");
  // Back by two hours: the same time of day comes again, and counts again.
  EXPECT_FALSE(is_due(schedule, last, utc("2026-05-02 01:30:10")));
  EXPECT_TRUE(is_due(schedule, utc("2026-05-02 01:30:10"), utc("2026-05-02 03:30:00")));
  // A run recorded under a clock years ahead does not end all runs.
  EXPECT_FALSE(is_due(schedule, utc("2036-01-01 00:00:00"), utc("2026-05-02 01:00:00")));
  // Forward by a month: one run.
  EXPECT_TRUE(is_due(schedule, last, utc("2026-06-02 12:00:00")));
  EXPECT_FALSE(is_due(schedule, utc("2026-06-02 12:00:01"), utc("2026-06-02 12:05:00")));
}

TEST(daily_schedule, refuses_what_is_no_time_or_zone) {
  for (const char* text :
       {"", "3:30", "24:00", "03:60", "03-30", "03:3a", "003:30", "03:30 ", " 03:30", "03:30 Mars/Olympus",
        "03:30 /etc/localtime", "03:30 ../../etc/localtime", "03:30 :UTC", "03:30  UTC"})
    EXPECT_FALSE(daily_schedule::parse(text).ok()) << text;
  EXPECT_TRUE(daily_schedule::parse("03:30").ok());
  EXPECT_TRUE(daily_schedule::parse("23:59 America/Argentina/Buenos_Aires").ok());
}

}  // namespace
}  // namespace understudy::server
