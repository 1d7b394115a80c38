#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "absl/status/status.h"

namespace understudy::server {

// A hook that hangs must not keep a service down.
constexpr std::chrono::seconds longest_hook{60};

// Runs an operator's command to its end, at most for `limit` (then its process group is killed:
// kDeadlineExceeded), in a process group of its own, with `environment` (NAME=VALUE) on top of the daemon's.
// kAborted when it exits with non-zero, with the end of what it printed. What it leaves running in the
// background is its own affair.
absl::Status run_hook(const std::vector<std::string>& command, const std::vector<std::string>& environment,
                      const char* name, std::chrono::milliseconds limit = longest_hook);

}  // namespace understudy::server
