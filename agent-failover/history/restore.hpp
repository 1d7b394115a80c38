#pragma once

#include <functional>
#include <string>

#include "absl/status/status.h"
#include "agent-failover/history/view.hpp"
#include "common/os/file_system.hpp"

namespace understudy::history {

// Writes a view as a plain database file: under ".NAME.part" first, and under `name` when it is whole,
// durable and proven by its hash. `permissions` of the file. kAlreadyExists when `name` exists; kDataLoss
// when what was read is not what the primary had. `progress` is told bytes done now and then; what it
// returns, unless ok, ends the work. Nothing is left behind by a failure.
absl::Status write_database(view& from, os::directory& to, const std::string& name, mode_t permissions,
                            const std::function<absl::Status(std::uint64_t done)>& progress);

}  // namespace understudy::history
