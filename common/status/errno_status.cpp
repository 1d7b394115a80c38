#include "common/status/errno_status.hpp"

#include <fmt/core.h>

#include <cstring>

#include "absl/status/status.h"

namespace understudy {

absl::Status errno_status(int error, std::string_view operation, std::string_view subject) {
  const char* name = strerrorname_np(error);
  return absl::Status(absl::ErrnoToStatusCode(error),
                      fmt::format("{} {}: {} ({})", operation, subject, strerrordesc_np(error),
                                  name != nullptr ? name : "?"));
}

}  // namespace understudy
