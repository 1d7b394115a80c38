#pragma once

#include <string_view>

#include "absl/status/status.h"
#include "common/os/file_system.hpp"

namespace understudy::files {

// Removes whatever lies at `path`, a directory with all that is in it. Ok when there is nothing.
absl::Status remove_tree(os::directory& parent, std::string_view path);

// Opens a directory below `parent`, made with its parents when missing.
absl::StatusOr<std::unique_ptr<os::directory>> open_or_make_directory(os::directory& parent,
                                                                      std::string_view path,
                                                                      mode_t permissions);

}  // namespace understudy::files
