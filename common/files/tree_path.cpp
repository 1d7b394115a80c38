#include "common/files/tree_path.hpp"

#include <fmt/core.h>

namespace understudy::files {
namespace {

absl::Status refuse(std::string_view path, std::string_view reason) {
  return absl::InvalidArgumentError(fmt::format("path \"{}\": {}", printable(path), reason));
}

}  // namespace

absl::Status check_path(std::string_view path) {
  if (path.empty()) return refuse(path, "it is empty");
  if (path.size() > longest_path) return refuse(path.substr(0, 64), "it is too long");
  if (path.front() == '/') return refuse(path, "it is absolute");
  if (path.find('\0') != std::string_view::npos) return refuse(path, "it contains a NUL byte");
  for (std::size_t begin = 0; begin <= path.size();) {
    const std::size_t end = std::min(path.find('/', begin), path.size());
    const std::string_view name = path.substr(begin, end - begin);
    if (name.empty() || name == "." || name == "..") {
      return refuse(path, "it has an empty, \".\" or \"..\" component");
    }
    if (name.size() > longest_name)
      return refuse(path.substr(0, 512), "a component is longer than 255 bytes");
    begin = end + 1;
  }
  return absl::OkStatus();
}

std::string_view parent_of(std::string_view path) {
  const std::size_t slash = path.rfind('/');
  return slash == std::string_view::npos ? std::string_view{} : path.substr(0, slash);
}

std::string_view name_of(std::string_view path) {
  const std::size_t slash = path.rfind('/');
  return slash == std::string_view::npos ? path : path.substr(slash + 1);
}

std::string join(std::string_view directory, std::string_view name) {
  if (directory.empty()) return std::string(name);
  std::string path;
  path.reserve(directory.size() + 1 + name.size());
  path.append(directory).append(1, '/').append(name);
  return path;
}

bool is_below(std::string_view path, std::string_view directory) {
  if (directory.empty()) return !path.empty();
  return path.size() > directory.size() && path[directory.size()] == '/' && path.starts_with(directory);
}

std::string printable(std::string_view path) {
  std::string text;
  text.reserve(path.size());
  for (const char c : path) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte >= 0x20 && byte < 0x7f && c != '\\') {
      text.push_back(c);
    } else {
      text += fmt::format("\\x{:02x}", byte);
    }
  }
  return text;
}

}  // namespace understudy::files
