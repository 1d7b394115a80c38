#include "common/files/xattrs.hpp"

#include <fmt/core.h>
#include <sys/xattr.h>

#include <cerrno>
#include <cstring>

#include "common/status/errno_status.hpp"

namespace understudy::files {
namespace {

// `list` and `get` are the l* or f* calls on one subject.
template <class List, class Get>
attribute_map read_all(List list, Get get) {
  attribute_map attributes;
  ssize_t length = list(nullptr, 0);
  if (length <= 0) return attributes;
  std::string names(static_cast<std::size_t>(length) + 256, '\0');
  length = list(names.data(), names.size());
  if (length <= 0) return attributes;
  names.resize(static_cast<std::size_t>(length));
  for (std::size_t at = 0; at < names.size();) {
    const std::string name(names.c_str() + at);
    at += name.size() + 1;
    if (!attribute_travels(name)) continue;
    std::string value(65536, '\0');
    const ssize_t size = get(name.c_str(), value.data(), value.size());
    if (size < 0) continue;  // removed meanwhile
    value.resize(static_cast<std::size_t>(size));
    attributes.emplace(name, std::move(value));
  }
  return attributes;
}

bool is_acl(std::string_view name) {
  return name == "system.posix_acl_access" || name == "system.posix_acl_default";
}

}  // namespace

bool attribute_travels(std::string_view name) {
  return name.starts_with("user.") || is_acl(name);
}

attribute_map read_attributes_at(int directory, const std::string& name) {
  if (directory < 0) return {};
  // There is no xattr call relative to a descriptor before 6.13; the magic link names the held directory.
  const std::string path = fmt::format("/proc/self/fd/{}/{}", directory, name);
  return read_all([&](char* buffer, std::size_t size) { return ::llistxattr(path.c_str(), buffer, size); },
                  [&](const char* attribute, char* buffer, std::size_t size) {
                    return ::lgetxattr(path.c_str(), attribute, buffer, size);
                  });
}

attribute_map read_attributes(int descriptor) {
  if (descriptor < 0) return {};
  return read_all([&](char* buffer, std::size_t size) { return ::flistxattr(descriptor, buffer, size); },
                  [&](const char* attribute, char* buffer, std::size_t size) {
                    return ::fgetxattr(descriptor, attribute, buffer, size);
                  });
}

absl::Status write_attributes(int descriptor, const attribute_map& attributes) {
  const attribute_map present = read_attributes(descriptor);
  if (present == attributes) return absl::OkStatus();
  for (const auto& [name, value] : present) {
    if (!attributes.contains(name)) ::fremovexattr(descriptor, name.c_str());
  }
  for (const auto& [name, value] : attributes) {
    if (const auto at = present.find(name); at != present.end() && at->second == value) continue;
    if (::fsetxattr(descriptor, name.c_str(), value.data(), value.size(), 0) == 0) continue;
    if (errno == EOPNOTSUPP && is_acl(name)) continue;
    return errno_status(errno, "setxattr", name);
  }
  return absl::OkStatus();
}

}  // namespace understudy::files
