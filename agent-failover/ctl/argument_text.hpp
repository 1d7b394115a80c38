#pragma once

// What operators write in arguments, read. Pure functions; errors are INVALID_ARGUMENT and say what is
// expected.

#include <chrono>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "agent-failover/ctl/human_text.hpp"
#include "google/protobuf/message.h"

namespace understudy::v1 {
class ServiceAddress;
}

namespace understudy::ctl {

// "2h", "90s", "1h30m", "2d", "1500ms"; units ms, s, m, min, h, d. At most 10 years.
absl::StatusOr<std::chrono::milliseconds> parse_duration(std::string_view text);

// "2026-11-22T15:40:00Z", "2026-11-22 15:40[:16]" in local time, or "10m", "10m ago": so long before `now`.
absl::StatusOr<clock_time> parse_time(std::string_view text, clock_time now);

// "HH:MM", 00:00 to 23:59, or "HH:MM ZONE"; "" and "none": no daily replication (returned as "").
absl::StatusOr<std::string> parse_time_of_day(std::string_view text);

// "10.0.0.5", "10.0.0.5/24", "10.0.0.5/24@eth0" into its parts. The address itself is the host's to judge.
absl::Status parse_service_address(std::string_view text, v1::ServiceAddress* address);

// Sets the field at `path` ("daily", "ping.interval", "service_addresses"; "-" counts as "_") from text.
// Enums take their word ("warm"), durations "2s", lists commas or JSON, anything made of parts JSON; an empty
// value clears. Returns the path as a field mask has it. An unknown field names the nearest known one.
absl::StatusOr<std::string> set_field(google::protobuf::Message* message, std::string_view path,
                                      std::string_view value);

}  // namespace understudy::ctl
