#pragma once

#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "common/rpc/rpc_status.hpp"

namespace understudy::api {

// NOT_FOUND, with the command that lists the servers.
absl::Status no_such_server(const std::string& name);

// ABORTED: the specification is no longer the one that the change began with.
absl::Status changed_meanwhile();

// UNIMPLEMENTED: "`what` is not part of this version; `instead`".
absl::Status unavailable(std::string_view what, std::string_view instead);

}  // namespace understudy::api
