#pragma once

// What is known of one entry of a tree: the part that both ends must agree on.

#include <sys/stat.h>
#include <sys/types.h>

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "common/files/digest.hpp"

namespace understudy::files {

enum class entry_kind {
  regular,
  directory,
  symlink,  // stored verbatim, never followed
};

// Sockets, devices and pipes are no entries.
std::optional<entry_kind> kind_of(mode_t mode);

// Nanoseconds since 1970: what stat(2) gives, as one number. 1677 to 2262.
using epoch_ns = std::int64_t;
epoch_ns to_nanoseconds(const struct ::timespec& time);
struct ::timespec to_timespec(epoch_ns time);

using attribute_map = std::map<std::string, std::string>;

// The path of the base itself, where an entry of it is allowed.
inline constexpr std::string_view base_path = ".";

struct entry {
  std::string path;
  entry_kind kind = entry_kind::regular;
  mode_t mode = 0;    // permission bits, 07777
  std::string owner;  // names, where known
  std::string group;
  uid_t uid = 0;
  gid_t gid = 0;
  std::uint64_t size = 0;  // of a regular file; 0 otherwise
  epoch_ns modified_at = 0;
  std::string target;  // of a symlink
  std::optional<digest> content;
  std::uint32_t hard_link_group = 0;
  attribute_map attributes;  // extended ones: "user.*" and ACLs
};

// The filesystem's part of an entry: no path, no owner names, target, attributes or digest.
entry entry_of(const struct ::stat& status, entry_kind kind);

// What differs between two entries of one path.
struct difference {
  bool kind = false;
  bool content = false;     // size, modification time of a file, target, or digest where both are known
  bool attributes = false;  // mode, owner, times, extended attributes
  bool any() const { return kind || content || attributes; }
};

struct comparison {
  bool owners = true;               // false: the receiver may not set them
  bool extended_attributes = true;  // false: its filesystem has none
};

// Equal owner names count as equal owners, and so do equal numbers: a receiver that does not know the name
// uses the number.
difference compare(const entry& a, const entry& b, const comparison& what);

}  // namespace understudy::files
