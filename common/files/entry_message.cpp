#include "common/files/entry_message.hpp"

#include <fmt/core.h>

#include "common/files/tree_path.hpp"
#include "common/files/xattrs.hpp"
#include "common/status/status_macros.hpp"
#include "understudy/v1/files.pb.h"

namespace understudy::files {
namespace {

constexpr std::size_t longest_target = 4095;          // bytes; PATH_MAX without its NUL
constexpr std::size_t most_attributes = 256;          // per entry; ext4 holds a few KiB of them
constexpr std::size_t longest_attribute = 64 * 1024;  // bytes; XATTR_SIZE_MAX
constexpr std::uint64_t largest_file = std::uint64_t{1}
                                       << 62;  // bytes; what off_t can address, and some room

absl::Status refuse(const v1::FileEntry& message, std::string_view reason) {
  return absl::InvalidArgumentError(fmt::format("entry \"{}\": {}", printable(message.path()), reason));
}

absl::Status check_attributes(const v1::FileEntry& message) {
  if (static_cast<std::size_t>(message.xattrs().size()) > most_attributes) {
    return refuse(message, "too many extended attributes");
  }
  for (const auto& [name, value] : message.xattrs()) {
    if (!attribute_travels(name) || name.size() > longest_name || name.find('\0') != std::string::npos) {
      return refuse(message, "an extended attribute that does not travel");
    }
    if (value.size() > longest_attribute) return refuse(message, "an extended attribute is too long");
  }
  return absl::OkStatus();
}

}  // namespace

void to_message(epoch_ns time, google::protobuf::Timestamp& message) {
  const struct ::timespec split = to_timespec(time);
  message.set_seconds(split.tv_sec);
  message.set_nanos(static_cast<std::int32_t>(split.tv_nsec));
}

epoch_ns from_message(const google::protobuf::Timestamp& message) {
  constexpr std::int64_t limit = 9'223'372'035;  // seconds that fit into epoch_ns
  if (message.seconds() > limit || message.seconds() < -limit) return 0;
  if (message.nanos() < 0 || message.nanos() > 999'999'999) return 0;
  return message.seconds() * 1'000'000'000 + message.nanos();
}

void to_message(const entry& e, v1::FileEntry& message) {
  message.set_path(e.path);
  switch (e.kind) {
    case entry_kind::regular:
      message.set_kind(v1::FILE_KIND_REGULAR);
      break;
    case entry_kind::directory:
      message.set_kind(v1::FILE_KIND_DIRECTORY);
      break;
    case entry_kind::symlink:
      message.set_kind(v1::FILE_KIND_SYMLINK);
      break;
  }
  message.set_mode(e.mode);
  message.set_owner(e.owner);
  message.set_group(e.group);
  message.set_uid(e.uid);
  message.set_gid(e.gid);
  message.set_size(e.kind == entry_kind::symlink ? e.target.size() : e.size);
  to_message(e.modified_at, *message.mutable_modified_at());
  message.set_symlink_target(e.target);
  if (e.content) message.set_digest(to_bytes(*e.content));
  message.set_hard_link_group(e.hard_link_group);
  for (const auto& [name, value] : e.attributes) (*message.mutable_xattrs())[name] = value;
}

absl::StatusOr<entry> from_message(const v1::FileEntry& message, bool base_allowed) {
  entry e;
  e.path = message.path();
  if (!(base_allowed && e.path == base_path)) UNDERSTUDY_RETURN_IF_ERROR(check_path(e.path));
  switch (message.kind()) {
    case v1::FILE_KIND_REGULAR:
      e.kind = entry_kind::regular;
      break;
    case v1::FILE_KIND_DIRECTORY:
      e.kind = entry_kind::directory;
      break;
    case v1::FILE_KIND_SYMLINK:
      e.kind = entry_kind::symlink;
      break;
    default:
      return refuse(message, "unknown kind");
  }
  if ((message.mode() & ~07777U) != 0) return refuse(message, "mode has more than permission bits");
  if (message.size() > largest_file) return refuse(message, "size is out of range");
  UNDERSTUDY_RETURN_IF_ERROR(check_attributes(message));
  e.mode = message.mode();
  e.owner = message.owner();
  e.group = message.group();
  e.uid = message.uid();
  e.gid = message.gid();
  e.size = e.kind == entry_kind::regular ? message.size() : 0;
  e.modified_at = from_message(message.modified_at());
  if (e.kind == entry_kind::symlink) {
    e.target = message.symlink_target();
    if (e.target.empty() || e.target.size() > longest_target || e.target.find('\0') != std::string::npos) {
      return refuse(message, "the symlink's target is empty, too long, or has a NUL byte");
    }
  }
  if (!message.digest().empty()) {
    e.content = digest_from_bytes(message.digest());
    if (!e.content) return refuse(message, "the digest is not 16 bytes long");
  }
  e.hard_link_group = message.hard_link_group();
  for (const auto& [name, value] : message.xattrs()) e.attributes.emplace(name, value);
  return e;
}

}  // namespace understudy::files
