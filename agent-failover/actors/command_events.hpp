#pragma once

// An operator's command as the state machine hears it, and in words. Pure.

#include <chrono>
#include <string>

#include "agent-failover/api/control.hpp"
#include "agent-failover/policy/event.hpp"
#include "understudy/v1/operation.pb.h"
#include "understudy/v1/server.pb.h"

namespace understudy::actors {

policy::event event_of(const api::command& command, std::chrono::system_clock::time_point now);

// What the command does, for the confirmation that an operator reads before it is done.
std::string effect_of(const api::command& command, const v1::ServerSpec& spec,
                      const policy::primary_state& state);

// The kind of operation a command begins; UNSPECIFIED: it is done at once.
v1::OperationKind operation_of(api::verb what);

// "failback", for operation names.
const char* word_of(v1::OperationKind kind);

policy::diverged_choice to_policy(v1::DivergedChoice choice);

// What decisions depend on, from the configuration in force.
policy::options options_of(const v1::ServerSpec& spec, const v1::Settings& settings);

}  // namespace understudy::actors
