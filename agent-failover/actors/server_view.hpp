#pragma once

// What an operator sees of a server, put together from what its supervisor knows. Pure but for the clock's
// reading, which is passed in.

#include <chrono>
#include <string>
#include <vector>

#include "agent-failover/policy/state.hpp"
#include "understudy/v1/primary_agent.pb.h"
#include "understudy/v1/server.pb.h"

namespace understudy::actors {

struct view_inputs {
  const v1::ServerSpec& spec;
  const policy::primary_state& machine;
  std::chrono::system_clock::time_point since;  // of the shown status
  std::chrono::nanoseconds round_trip{0};
  bool agent_connected = false;
  std::string agent_trouble{};                   // why it is not connected
  const v1::HoldLeaseResponse* agent = nullptr;  // its last state; null: none yet
  std::vector<v1::CopyStatus> databases{};
  std::vector<v1::CopyStatus> files{};
  std::vector<v1::ApplicationStatus> stand_in{};
  std::vector<std::string> warnings{};
  std::string operation{};
};

v1::ServerState view(const view_inputs& in);

// "0.1.0" against "0.1.3": empty when they work together without a word, else what is the matter. More than
// one minor version apart: `refused`.
struct version_verdict {
  bool refused = false;
  std::string text;
};
version_verdict compare_versions(const std::string& host, const std::string& agent);

}  // namespace understudy::actors
