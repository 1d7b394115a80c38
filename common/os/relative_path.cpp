#include "common/os/relative_path.hpp"

#include <fmt/core.h>

namespace understudy::os {

absl::Status check_relative_path(std::string_view path) {
  const auto refuse = [&](const char* why) {
    return absl::InvalidArgumentError(fmt::format("path \"{}\": {}", path, why));
  };
  if (path.empty()) return refuse("it is empty");
  if (path.front() == '/') return refuse("it is absolute");
  if (path.find('\0') != std::string_view::npos) return refuse("it contains a NUL byte");
  for (std::size_t start = 0; start <= path.size();) {
    const std::size_t end = std::min(path.find('/', start), path.size());
    const std::string_view component = path.substr(start, end - start);
    if (component.empty()) return refuse("it has an empty component");
    if (component == "." || component == "..") return refuse("it has a \".\" or \"..\" component");
    start = end + 1;
  }
  return absl::OkStatus();
}

std::pair<std::string, std::string> split_parent(std::string_view path) {
  const std::size_t slash = path.rfind('/');
  if (slash == std::string_view::npos) return {std::string(), std::string(path)};
  return {std::string(path.substr(0, slash)), std::string(path.substr(slash + 1))};
}

}  // namespace understudy::os
