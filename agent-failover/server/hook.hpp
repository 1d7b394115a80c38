#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"

namespace understudy::server {

// Runs an operator's command to its end, at most for a minute, in a process group of its own, with
// `environment` (NAME=VALUE) on top of the daemon's. kAborted when it exits with non-zero, with the end of
// what it printed.
absl::Status run_hook(const std::vector<std::string>& command, const std::vector<std::string>& environment,
                      const char* name);

}  // namespace understudy::server
