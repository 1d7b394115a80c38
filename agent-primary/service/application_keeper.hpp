#pragma once

#include <memory>

#include "agent-primary/service/agent_actors.hpp"

namespace understudy::service {

struct application_keeper_state {
  static inline const char* name = "application_keeper";
  std::shared_ptr<application::application_set> set;
};

// Runs the applications. Every command's end and every change is told to `report` (on the set's thread, with
// the state of all): the set's own on_change tells the rest.
application_keeper_actor::behavior_type application_keeper(
    application_keeper_actor::stateful_pointer<application_keeper_state> self,
    std::shared_ptr<application::application_set> set,
    std::function<void(const std::vector<application::application_status>&)> report);

}  // namespace understudy::service
