#pragma once

#include <string_view>

#include "absl/status/status.h"

namespace understudy {

// Translates errno into a status that names the operation and its subject, for example
// "open /var/lib/pbx/ctserver.db: No such file or directory (ENOENT)".
absl::Status errno_status(int error, std::string_view operation, std::string_view subject);

}  // namespace understudy
