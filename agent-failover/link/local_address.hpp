#pragma once

#include <string>

#include "absl/status/statusor.h"

namespace understudy::link {

// The address of this host that the kernel would send from to reach `peer` (an IP address), by a UDP socket
// that sends nothing. It changes when routes do.
absl::StatusOr<std::string> local_address_towards(const std::string& peer);

}  // namespace understudy::link
