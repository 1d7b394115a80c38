#pragma once

// Debian's absl is built with its own string_view, which does not convert to std::string_view. These bridge
// it; text is made with fmt::format everywhere.

#include <string_view>

#include "absl/status/status.h"

namespace understudy {

inline std::string_view message_of(const absl::Status& status) {
  return {status.message().data(), status.message().size()};
}

}  // namespace understudy
