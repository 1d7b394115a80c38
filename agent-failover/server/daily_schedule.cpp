#include "agent-failover/server/daily_schedule.hpp"

#include <fmt/core.h>

#include <algorithm>

namespace understudy::server {
namespace {

wall_clock_time occurrence_of(const daily_schedule& schedule, absl::CivilDay day) {
  const absl::TimeZone::TimeInfo at = schedule.zone.At(
      absl::CivilSecond(day.year(), day.month(), day.day(), schedule.hour, schedule.minute, 0));
  return absl::ToChronoTime(at.kind == absl::TimeZone::TimeInfo::SKIPPED ? at.trans : at.pre);
}

}  // namespace

absl::StatusOr<daily_schedule> daily_schedule::parse(const std::string& text) {
  daily_schedule schedule;
  const std::size_t space = text.find(' ');
  const std::string time_of_day = text.substr(0, space);
  const std::string zone = space == std::string::npos ? "" : text.substr(space + 1);
  const auto digit = [&](std::size_t i) {
    return i < time_of_day.size() && time_of_day[i] >= '0' && time_of_day[i] <= '9' ? time_of_day[i] - '0'
                                                                                    : 100;
  };
  schedule.hour = 10 * digit(0) + digit(1);
  schedule.minute = 10 * digit(3) + digit(4);
  if (time_of_day.size() != 5 || time_of_day[2] != ':' || schedule.hour > 23 || schedule.minute > 59) {
    return absl::InvalidArgumentError(fmt::format("\"{}\" is not a time of day such as 03:30", text));
  }
  if (space == std::string::npos) {
    schedule.zone = absl::LocalTimeZone();
  } else if (zone.empty() || zone.front() == '/' || zone.front() == ':' ||
             zone.find("..") != std::string::npos || !absl::LoadTimeZone(zone, &schedule.zone)) {
    return absl::InvalidArgumentError(
        fmt::format("\"{}\" is not a time zone that this host knows, such as Europe/Vienna", zone));
  }
  return schedule;
}

wall_clock_time next_occurrence(const daily_schedule& schedule, wall_clock_time after) {
  absl::CivilDay day = absl::ToCivilDay(absl::FromChrono(after), schedule.zone) - 1;
  while (occurrence_of(schedule, day) <= after) ++day;
  return occurrence_of(schedule, day);
}

bool is_due(const daily_schedule& schedule, wall_clock_time last, wall_clock_time now) {
  return next_occurrence(schedule, std::min(last, now)) <= now;
}

}  // namespace understudy::server
