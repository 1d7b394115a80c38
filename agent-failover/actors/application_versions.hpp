#pragma once

// The application's own version, as its version command says on either side. A stand-in of another version
// may not understand the data, or change it so that the primary no longer does. Pure.

#include <map>
#include <string>

#include "absl/status/statusor.h"
#include "understudy/v1/primary_agent.pb.h"

namespace understudy::actors {

using application_versions = std::map<std::string, absl::StatusOr<std::string>>;  // by application, here

struct application_version_verdict {
  bool differ = false;
  bool complete = true;  // false: one is not known yet; ask again soon
  std::string text;      // what differs, or why it is not known; empty: nothing to say
};

// `here`: of the applications that have a version command on this host.
application_version_verdict compare(const v1::DescribeResponse& primary, const application_versions& here);

}  // namespace understudy::actors
