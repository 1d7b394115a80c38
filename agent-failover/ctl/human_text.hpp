#pragma once

// Figures as people read them. Pure functions; times are parameters.

#include <chrono>
#include <cstdint>
#include <string>

#include "google/protobuf/duration.pb.h"
#include "google/protobuf/timestamp.pb.h"

namespace google::protobuf {
class EnumDescriptor;
}

namespace understudy::ctl {

using clock_time = std::chrono::system_clock::time_point;

clock_time to_time(const google::protobuf::Timestamp& at);
std::chrono::milliseconds to_milliseconds(const google::protobuf::Duration& period);

// "120 ms", "3 s", "2 min 5 s", "3 h 12 min", "4 d 2 h": at most two units, rounded down.
std::string duration_text(std::chrono::milliseconds period);

// "3 s ago", "in 2 h", "now"; "-" when the timestamp is not set.
std::string ago_text(const google::protobuf::Timestamp& at, clock_time now);

// Local time as "2026-11-22 15:40:16"; "-" when not set.
std::string time_text(const google::protobuf::Timestamp& at);

// "0 B", "999 B", "1.5 KiB", "20 GiB". Never rounds up to the next unit.
std::string bytes_text(std::uint64_t bytes);

// "12 %". Floored, and at most 99 unless `done`: a progress that says 100 has ended. "" when total is 0.
std::string percent_text(std::uint64_t bytes_done, std::uint64_t bytes_total, bool done);

// The value's name without its type's prefix: SERVER_STATUS_OK becomes "OK"; a number unknown here, itself.
std::string enum_text(const google::protobuf::EnumDescriptor* type, int value);

// The same in lower case with "-" for "_": "original-paths".
std::string enum_word(const google::protobuf::EnumDescriptor* type, int value);

// One line for a terminal: control characters, escape sequences among them, become "?".
std::string printable(std::string_view text);

}  // namespace understudy::ctl
