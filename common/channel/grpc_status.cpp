#include "common/channel/grpc_status.hpp"

#include <grpcpp/support/status.h>

#include <string>

#include "common/status/status_text.hpp"

namespace understudy::channel {

absl::Status from_grpc(const grpc::Status& status) {
  if (status.ok()) return absl::OkStatus();
  return {static_cast<absl::StatusCode>(status.error_code()), status.error_message()};
}

grpc::Status to_grpc(const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  return {static_cast<grpc::StatusCode>(status.code()), std::string{message_of(status)}};
}

}  // namespace understudy::channel
