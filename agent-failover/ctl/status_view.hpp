#pragma once

// What an operator sees of servers: pure functions from the wire's messages to text.

#include <string>

#include "agent-failover/ctl/human_text.hpp"
#include "agent-failover/ctl/text_table.hpp"
#include "understudy/v1/server.pb.h"
#include "understudy/v1/supervisor.pb.h"

namespace understudy::ctl {

// How the figures are laid out.
struct view {
  clock_time now;
  std::size_t width = 0;  // columns; 0: as wide as it gets
  bool colored = false;
};

// The colour that goes with a status.
tint tint_of(v1::ServerStatus status);

// How far a server's copy is, as one cell: its least advanced part, with a percentage while copying.
std::string copy_cell(const v1::ServerState& state);

// The longest time that any part of the copy is behind: "0 s" in step, "-" when there is no copy to compare.
std::string behind_cell(const v1::ServerState& state);

// The table of all servers, the host's line and the warnings.
std::string status_table(const v1::GetStatusResponse& status, const std::string& host, const view& how);

// One server, in full.
std::string server_view(const v1::ServerState& state, const view& how);

// One line, for `status -w` into a pipe: time, server, status, reason, next.
std::string state_line(const v1::ServerState& state, const view& how);

// True when all is well: every server OK, and the host trusts its own network.
bool is_healthy(const v1::GetStatusResponse& status);

// What `explain` prints.
std::string explain_view(const v1::ExplainResponse& explained, const view& how);

// A table of checks: OK or FAILED, what, detail.
std::string checks_view(const google::protobuf::RepeatedPtrField<v1::CheckResult>& checks, const view& how);

// Applications of a server on both sides.
std::string applications_view(const google::protobuf::RepeatedPtrField<v1::ApplicationStatus>& primary,
                              const google::protobuf::RepeatedPtrField<v1::ApplicationStatus>& stand_in,
                              const view& how);

}  // namespace understudy::ctl
