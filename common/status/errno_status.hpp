#pragma once

#include <string_view>

#include "absl/status/status.h"

namespace understudy {

// Translates errno into a status that names the operation and its subject, for example
// "open /var/lib/pbx/ctserver.db: No such file or directory (ENOENT)".
absl::Status errno_status(int error, std::string_view operation, std::string_view subject);

// The status, or the one that it was made of, is errno_status() of a disk or a quota that is full. The code
// alone (RESOURCE_EXHAUSTED) does not tell: gRPC has it for messages that are too large, absl for descriptors
// that have run out.
bool is_out_of_space(const absl::Status& status);

}  // namespace understudy
