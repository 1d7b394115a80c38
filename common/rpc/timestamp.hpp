#pragma once

#include <chrono>

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

}  // namespace understudy::rpc
