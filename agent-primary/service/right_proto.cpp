#include "agent-primary/service/right_proto.hpp"

#include "understudy/v1/primary_agent.pb.h"
#include "understudy/v1/right.pb.h"

namespace understudy::service {

v1::RightToRun to_proto(const lease::right_record& right) {
  v1::RightToRun result;
  result.set_epoch(right.epoch);
  switch (right.owner) {
    case lease::right_owner::unknown:
      result.set_owner(v1::RIGHT_OWNER_UNSPECIFIED);
      break;
    case lease::right_owner::primary:
      result.set_owner(v1::RIGHT_OWNER_PRIMARY);
      break;
    case lease::right_owner::failover_host:
      result.set_owner(v1::RIGHT_OWNER_FAILOVER_HOST);
      break;
  }
  result.set_owner_name(right.owner_name);
  if (right.since_unix != 0) result.mutable_since()->set_seconds(right.since_unix);
  result.set_reason(right.reason);
  return result;
}

std::vector<lease::service_address> from_proto(
    const google::protobuf::RepeatedPtrField<v1::ServiceAddress>& addresses) {
  std::vector<lease::service_address> result;
  for (const v1::ServiceAddress& a : addresses) {
    result.push_back({a.address(), static_cast<int>(std::min(a.prefix_length(), 128u)), a.adapter()});
  }
  return result;
}

std::chrono::milliseconds from_proto(const google::protobuf::Duration& duration) {
  constexpr std::int64_t longest_s =
      365LL * 24 * 3600;  // what a peer says is bounded before it is multiplied
  const std::int64_t seconds = std::clamp<std::int64_t>(duration.seconds(), 0, longest_s);
  return std::chrono::milliseconds(seconds * 1000 + std::clamp(duration.nanos(), 0, 999'999'999) / 1'000'000);
}

std::int64_t wall_seconds() {
  return std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch())
      .count();
}

}  // namespace understudy::service
