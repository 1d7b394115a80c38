#pragma once

// Extended attributes of the "user." namespace. A filesystem without them has none; nothing here fails for
// that.

#include <string>

#include "absl/status/status.h"
#include "common/files/entry.hpp"

namespace understudy::files {

// Of a name in an open directory; a symlink is not followed (and has none).
attribute_map read_attributes_at(int directory, const std::string& name);
// Of an open file or directory.
attribute_map read_attributes(int descriptor);
// Sets exactly these. kUnimplemented where the filesystem has none.
absl::Status write_attributes(int descriptor, const attribute_map& attributes);

}  // namespace understudy::files
