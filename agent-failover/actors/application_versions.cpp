#include "agent-failover/actors/application_versions.hpp"

#include <fmt/core.h>

#include <algorithm>

#include "common/status/status_text.hpp"

namespace understudy::actors {

application_version_verdict compare(const v1::DescribeResponse& primary, const application_versions& here) {
  application_version_verdict verdict;
  const auto say = [&](const std::string& sentence) {
    verdict.text += (verdict.text.empty() ? "" : "; ") + sentence;
  };
  for (const auto& [name, mine] : here) {
    const auto there = std::find_if(primary.applications().begin(), primary.applications().end(),
                                    [&wanted = name](const auto& one) { return one.name() == wanted; });
    if (there == primary.applications().end() || there->version_command().empty()) continue;
    if (there->version().empty()) {
      verdict.complete = false;  // an agent that has just started is still asking
      continue;
    }
    if (!mine.ok()) {
      say(fmt::format("the version of {} on this host is not known ({}); on the primary it is \"{}\"", name,
                      message_of(mine.status()), there->version()));
    } else if (*mine != there->version()) {
      verdict.differ = true;
      say(fmt::format("{} is \"{}\" on the primary and \"{}\" here", name, there->version(), *mine));
    }
  }
  return verdict;
}

}  // namespace understudy::actors
