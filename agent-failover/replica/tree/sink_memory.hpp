#pragma once

// What a copy remembers of its source across restarts: a few bytes in a file, replaced as a whole.

#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "common/files/entry.hpp"
#include "common/os/file_system.hpp"

namespace understudy::files {

struct sink_memory {
  std::string copy;            // 16 random bytes: names this copy, in this life
  epoch_ns in_step_until = 0;  // by the source's clock; 0: never in step
  std::string root;            // identity of the source's base directory
};

// A new copy that knows nothing.
sink_memory new_memory();
// The memory in `file`, or a new one where there is none that can be read.
sink_memory load_memory(os::directory& d, std::string_view file);
absl::Status store_memory(os::directory& d, std::string_view file, const sink_memory& memory);

}  // namespace understudy::files
