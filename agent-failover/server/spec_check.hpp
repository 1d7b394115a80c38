#pragma once

// Whether a server's configuration and the settings make sense. Pure: nothing is looked up.

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "understudy/v1/server.pb.h"
#include "understudy/v1/supervisor.pb.h"

namespace understudy::server {

// One field that is wrong: its path ("server.daily") and what is expected.
struct violation {
  std::string field;
  std::string description;
};

std::vector<violation> check(const v1::ServerSpec& spec);
std::vector<violation> check(const v1::Settings& settings);
// ok, or kInvalidArgument with all of them in its text.
absl::Status to_status(const std::vector<violation>& violations);

// The values in force: the server's where set, else the settings', else the classic product's
// (2000 ms, 1000 ms, 5, 15, 30).
v1::PingSettings effective_ping(const v1::ServerSpec& spec, const v1::Settings& settings);

// What a change of the ping values means, in words; empty for the default ones.
std::vector<std::string> ping_warnings(const v1::PingSettings& ping);

}  // namespace understudy::server
