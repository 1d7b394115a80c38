#include "common/status/errno_status.hpp"

#include <fmt/core.h>

#include <cerrno>
#include <cstring>

#include "absl/status/status.h"

namespace understudy {
namespace {

constexpr const char* full_disk = "understudy.local/full-disk";  // never leaves the process

}  // namespace

absl::Status errno_status(int error, std::string_view operation, std::string_view subject) {
  const char* name = strerrorname_np(error);
  absl::Status status(absl::ErrnoToStatusCode(error),
                      fmt::format("{} {}: {} ({})", operation, subject, strerrordesc_np(error),
                                  name != nullptr ? name : "?"));
  if (error == ENOSPC || error == EDQUOT) status.SetPayload(full_disk, {});
  return status;
}

bool is_out_of_space(const absl::Status& status) {
  return status.GetPayload(full_disk).has_value();
}

}  // namespace understudy
