#pragma once

// File contents as zstd frames, where that pays: text and tables yes, recordings no. Told by a sample.

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace understudy::files {

// True: packed it is at most two thirds.
bool packs_well(std::string_view content);
// Nothing unless it becomes smaller.
std::optional<std::string> pack(std::string_view content);
// kInvalidArgument unless the frame announces exactly `size` bytes and holds them; nothing more is allocated.
absl::StatusOr<std::string> unpack(std::string_view frame, std::size_t size);

}  // namespace understudy::files
