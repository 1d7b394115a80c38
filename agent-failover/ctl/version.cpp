#include "agent-failover/ctl/version.hpp"

#include <cstdio>
#include <cstdlib>

#include "ctl_build_info.hpp"

namespace understudy::ctl {

std::string program_version() {
  return UNDERSTUDY_CTL_VERSION;
}

std::string version_line() {
  const std::string commit = UNDERSTUDY_CTL_COMMIT;
  return "understudyctl " + program_version() + (commit.empty() ? "" : " (" + commit + ")");
}

std::optional<version_match> compare_versions(const std::string& one, const std::string& other) {
  int major[2] = {0, 0};
  int minor[2] = {0, 0};
  if (std::sscanf(one.c_str(), "%9d.%9d", &major[0], &minor[0]) != 2) return std::nullopt;
  if (std::sscanf(other.c_str(), "%9d.%9d", &major[1], &minor[1]) != 2) return std::nullopt;
  if (major[0] != major[1] || std::abs(minor[0] - minor[1]) > 1) return version_match::refused;
  return minor[0] == minor[1] ? version_match::same : version_match::near;
}

}  // namespace understudy::ctl
