#pragma once

// Configuration of servers as text: pure functions.

#include <string>

#include "agent-failover/ctl/status_view.hpp"
#include "understudy/v1/server.pb.h"
#include "understudy/v1/supervisor.pb.h"

namespace understudy::ctl {

// What `server list` prints.
std::string server_list_view(const v1::ListServersResponse& servers, const view& how);

// One server's configuration, as `server show` and `server auto-populate` print it.
std::string spec_view(const v1::ServerSpec& spec, const view& how);

}  // namespace understudy::ctl
