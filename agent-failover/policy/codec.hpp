#pragma once

// primary_state as text, for a row of state.db: "1 key=value ...", strict. A reader refuses what it does not
// know, so that a newer daemon's record is never half understood.

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "agent-failover/policy/state.hpp"

namespace understudy::policy {

std::string encode(const primary_state& state);

// DATA_LOSS with what is wrong and where.
absl::StatusOr<primary_state> decode(std::string_view text);

}  // namespace understudy::policy
