#pragma once

// Extended attributes that travel: those of the "user." namespace, and POSIX ACLs, which Linux shows as
// attributes (acl(5); in them users and groups are numbers). A filesystem without them has none; nothing here
// fails for that.

#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "common/files/entry.hpp"

namespace understudy::files {

bool attribute_travels(std::string_view name);
// Of a name in an open directory; a symlink is not followed (and has none).
attribute_map read_attributes_at(int directory, const std::string& name);
// Of an open file or directory.
attribute_map read_attributes(int descriptor);
// Sets exactly these, after the mode, which an ACL is part of. kUnimplemented where the filesystem has none;
// one that has no ACLs, but the others, goes without them.
absl::Status write_attributes(int descriptor, const attribute_map& attributes);

}  // namespace understudy::files
