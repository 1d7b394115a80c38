#pragma once

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "agent-primary/service/agent_config.hpp"

namespace understudy::service {

// The whole agent in one object: what main() runs, and what a test can run in its own process.
class agent {
 public:
  // On return it serves; the gate may still be asking.
  static absl::StatusOr<std::unique_ptr<agent>> start(agent_config config);
  // Ends the streams, then the actors. Applications go on running.
  ~agent();
  agent(const agent&) = delete;
  agent& operator=(const agent&) = delete;

  int port() const;
  // Takes over what can change while running: databases. kFailedPrecondition names what needs a restart, and
  // then nothing was changed.
  absl::Status reload(const agent_config& config);

 private:
  class implementation;
  explicit agent(std::unique_ptr<implementation> parts);
  std::unique_ptr<implementation> implementation_;
};

}  // namespace understudy::service
