#pragma once

// absl::Status ⇄ grpc::Status, with the details of google.rpc: why for programs (ErrorInfo), which fields
// (BadRequest), what would have to hold first (PreconditionFailure), and the command that helps (Help). A
// status carries them as payloads, so they survive every layer below the servers.

#include <map>
#include <string>
#include <string_view>

#include "absl/status/status.h"

namespace grpc {
class Status;
}

namespace understudy::rpc {

grpc::Status to_grpc(const absl::Status& status);
// An UNAVAILABLE or DEADLINE_EXCEEDED of the transport keeps its code; the message stays as it is.
absl::Status from_grpc(const grpc::Status& status);

// Each adds one detail and returns the status; an OK status is returned unchanged.
// `reason`: UPPER_SNAKE_CASE and stable, for example "SLOT_BUSY".
absl::Status with_reason(absl::Status status, std::string_view reason,
                         const std::map<std::string, std::string>& metadata = {});
// `command`: for example "understudyctl explain aklmatrix".
absl::Status with_help(absl::Status status, std::string_view command, std::string_view description);
// `field`: the path of the wrong field, for example "server.address".
absl::Status with_field(absl::Status status, std::string_view field, std::string_view description);
// `kind`: UPPER_SNAKE_CASE; `subject`: for example "servers/aklmatrix".
absl::Status with_precondition(absl::Status status, std::string_view kind, std::string_view subject,
                               std::string_view description);

// The details again; empty when there are none.
std::string reason_of(const absl::Status& status);
std::string help_of(const absl::Status& status);  // the first command

}  // namespace understudy::rpc
