#pragma once

#include <vector>

#include "understudy/v1/supervisor.pb.h"

namespace understudy::api {

// Tries what a takeover of this server needs, one after the other: ping, agent, versions, each database, the
// adapter and each address that would be adopted. Takes seconds when something does not answer. Any thread.
std::vector<v1::CheckResult> test_server(const v1::ServerSpec& spec, const v1::Settings& settings);

}  // namespace understudy::api
