#pragma once

// Translates between absl::Status and grpc::Status; the codes are the same, the details are not carried.

#include "absl/status/status.h"

namespace grpc {
class Status;
}

namespace understudy::channel {

absl::Status from_grpc(const grpc::Status& status);
grpc::Status to_grpc(const absl::Status& status);

}  // namespace understudy::channel
