#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "agent-primary/lease/right_record.hpp"

namespace understudy::service {

// The addresses that belong to the right to run, put on this machine's adapters and taken off again.
// Idempotent; an adapter or prefix that is not said is that of the connected network in which the address
// lies. All are tried; the first failure is returned.
absl::Status add_service_addresses(const std::vector<lease::service_address>& addresses);
// Also those that somebody else configured: with the right gone, the address answers elsewhere.
absl::Status remove_service_addresses(const std::vector<lease::service_address>& addresses);
// Those of `addresses` that are present on the machine.
std::vector<std::string> present_service_addresses(const std::vector<lease::service_address>& addresses);

}  // namespace understudy::service
