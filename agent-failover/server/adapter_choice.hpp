#pragma once

#include <string>

#include "understudy/v1/supervisor.pb.h"

namespace understudy::server {

// The adapter that adopts an address: the chosen one if it has an on-link route to it, else, when none is
// chosen, the first that has; empty when there is none.
std::string adapter_for(const std::string& address, const v1::Settings& settings);

}  // namespace understudy::server
