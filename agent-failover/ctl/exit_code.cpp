#include "agent-failover/ctl/exit_code.hpp"

namespace understudy::ctl {

exit_code exit_code_of(absl::StatusCode code) {
  switch (code) {
    case absl::StatusCode::kOk:
      return exit_code::ok;
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kOutOfRange:
      return exit_code::usage;
    case absl::StatusCode::kUnavailable:
      return exit_code::unreachable;
    case absl::StatusCode::kPermissionDenied:
    case absl::StatusCode::kUnauthenticated:
      return exit_code::denied;
    case absl::StatusCode::kNotFound:
      return exit_code::not_found;
    case absl::StatusCode::kFailedPrecondition:
    case absl::StatusCode::kAborted:
    case absl::StatusCode::kAlreadyExists:
      return exit_code::precondition;
    case absl::StatusCode::kDeadlineExceeded:
      return exit_code::timeout;
    default:
      // CANCELLED, UNKNOWN, INTERNAL, DATA_LOSS, UNIMPLEMENTED, RESOURCE_EXHAUSTED, and what is yet to come.
      return exit_code::failed;
  }
}

}  // namespace understudy::ctl
