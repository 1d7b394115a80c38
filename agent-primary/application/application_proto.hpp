#pragma once

#include <vector>

#include "agent-primary/application/application_definition.hpp"
#include "agent-primary/application/application_set.hpp"

namespace understudy::v1 {
class ApplicationDescription;
class ApplicationStatus;
}  // namespace understudy::v1

namespace understudy::application {

v1::ApplicationStatus to_proto(const application_status& status);
// Without the version's output, which takes running a command.
v1::ApplicationDescription to_proto(const application_definition& definition);
// For a stand-in: what the primary's agent described. Binds are the caller's to add.
application_definition from_proto(const v1::ApplicationDescription& description);

}  // namespace understudy::application
