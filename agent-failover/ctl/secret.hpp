#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "agent-failover/ctl/terminal.hpp"

namespace understudy::ctl {

// A password: the first line of `file` ("-": stdin), or, with `file` empty, asked for without echo. Never
// from an argument. INVALID_ARGUMENT when it is empty or there is nobody to ask.
absl::StatusOr<std::string> read_secret(terminal& screen, const std::string& question,
                                        const std::string& file);

}  // namespace understudy::ctl
