#pragma once

#include <chrono>
#include <cstdint>
#include <optional>

#include "google/protobuf/timestamp.pb.h"

namespace understudy::rpc {

inline google::protobuf::Timestamp to_timestamp(std::chrono::system_clock::time_point at) {
  const auto ns = std::chrono::duration_cast<std::chrono::nanoseconds>(at.time_since_epoch()).count();
  google::protobuf::Timestamp stamp;
  stamp.set_seconds(ns / 1'000'000'000);
  stamp.set_nanos(static_cast<std::int32_t>(ns % 1'000'000'000));
  return stamp;
}

// protobuf's own TimeUtil::GetCurrentTime() knows whole seconds only.
inline google::protobuf::Timestamp timestamp_now() {
  return to_timestamp(std::chrono::system_clock::now());
}

// Of a time that came from outside. Empty: no time, or one that 64 bits of nanoseconds do not hold.
inline std::optional<std::chrono::system_clock::time_point> time_point_of(
    const google::protobuf::Timestamp& time) {
  constexpr std::int64_t latest = 9'000'000'000;  // seconds
  constexpr std::int32_t second = 1'000'000'000;  // nanoseconds
  if (time.seconds() < 0 || time.seconds() > latest || time.nanos() < 0 || time.nanos() >= second)
    return std::nullopt;
  return std::chrono::system_clock::time_point(
      std::chrono::duration_cast<std::chrono::system_clock::duration>(
          std::chrono::seconds(time.seconds()) + std::chrono::nanoseconds(time.nanos())));
}

}  // namespace understudy::rpc
