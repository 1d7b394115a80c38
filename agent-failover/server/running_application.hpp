#pragma once

#include <string>

#include "understudy/v1/primary_agent.pb.h"

namespace understudy::server {

// An application of the primary that has processes, also one that is just stopping; empty when none has.
std::string running_application(const v1::HoldLeaseResponse& agent);

}  // namespace understudy::server
