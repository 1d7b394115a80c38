#pragma once

// absl::Status <-> grpc::Status at the ends of the streams, details included.

#include "common/rpc/rpc_status.hpp"

namespace understudy::channel {

using rpc::from_grpc;
using rpc::to_grpc;

}  // namespace understudy::channel
