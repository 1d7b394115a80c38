#pragma once

#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"

namespace understudy::os {

// The rule that every path given to an os::directory obeys: relative, no empty, "." or ".." component, no
// NUL.
absl::Status check_relative_path(std::string_view path);

// Splits a checked path into its parent ("" when it has one component) and its last component.
std::pair<std::string, std::string> split_parent(std::string_view path);

}  // namespace understudy::os
