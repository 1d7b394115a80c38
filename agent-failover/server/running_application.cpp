#include "agent-failover/server/running_application.hpp"

namespace understudy::server {

std::string running_application(const v1::HoldLeaseResponse& agent) {
  for (const auto& application : agent.applications()) {
    switch (application.state()) {
      case v1::APPLICATION_STATE_STARTING:
      case v1::APPLICATION_STATE_RUNNING:
      case v1::APPLICATION_STATE_STOPPING:
      case v1::APPLICATION_STATE_UNHEALTHY:
        return application.name();
      default:
        break;
    }
  }
  return "";
}

}  // namespace understudy::server
