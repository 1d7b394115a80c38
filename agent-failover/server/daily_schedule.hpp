#pragma once

// When the daily replication is due: pure, so that time zones and changes of clocks can be tested.
//
// The rule: once for each day of the zone's calendar, at the time of day or as soon afterwards as it is
// possible. A time that a change to summer time leaves out happens at the change; one that comes twice counts
// the first time. Of several missed days (the daemon or the primary was down, the server suspended) one run
// makes up for all. A clock set back repeats at most one run; one set forward brings at most one early.

#include <chrono>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace understudy::server {

struct daily_schedule {
  absl::TimeZone zone;
  int hour = 0;
  int minute = 0;

  // "HH:MM" in the host's own time zone, or "HH:MM ZONE" with a name of the system's time zone database:
  // "02:30 Europe/Vienna".
  static absl::StatusOr<daily_schedule> parse(const std::string& text);
};

using wall_clock_time = std::chrono::system_clock::time_point;

// The first occurrence after `after`.
wall_clock_time next_occurrence(const daily_schedule& schedule, wall_clock_time after);

// Is one due at `now`, when everything up to `last` is done? A `last` that lies in the future is taken as
// `now`: the clock was set back.
bool is_due(const daily_schedule& schedule, wall_clock_time last, wall_clock_time now);

}  // namespace understudy::server
