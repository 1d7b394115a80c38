#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"

namespace google::rpc {
class Status;
}

namespace understudy::ctl {

// Under this key a status carries a serialized google.rpc.Status, as gRPC's trailer of the same name does.
inline constexpr const char* DETAILS_KEY = "grpc-status-details-bin";

// `status` with one more line of help.
absl::Status with_hint(absl::Status status, std::string_view hint);

// An operation's or a reply's error, details included. OK for code 0.
absl::Status status_of(const google::rpc::Status& error);

// What a status's details say, one line each: wrong fields, conditions that do not hold, help, the stable
// reason. Details that cannot be read are left out.
std::vector<std::string> hints_of(const absl::Status& status);

// True when the details say where to go from here (google.rpc.Help).
bool has_help(const absl::Status& status);

// For stderr: "understudyctl: MESSAGE" and a line per hint.
std::string error_text(const absl::Status& status, bool colored);

}  // namespace understudy::ctl
