#pragma once

#include <google/protobuf/repeated_ptr_field.h>

#include <chrono>
#include <vector>

#include "agent-primary/lease/gate.hpp"

namespace google::protobuf {
class Duration;
}
namespace understudy::v1 {
class FenceRight;
class GrantRight;
class RightToRun;
class ServiceAddress;
}  // namespace understudy::v1

namespace understudy::service {

v1::RightToRun to_proto(const lease::right_record& right);
std::vector<lease::service_address> from_proto(
    const google::protobuf::RepeatedPtrField<v1::ServiceAddress>& addresses);
std::chrono::milliseconds from_proto(const google::protobuf::Duration& duration);
std::int64_t wall_seconds();

}  // namespace understudy::service
