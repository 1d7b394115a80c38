#pragma once

#include <memory>
#include <string>

#include "agent-primary/service/agent_actors.hpp"
#include "common/channel/database_source.hpp"

namespace understudy::service {

struct database_watcher_state {
  static inline const char* name = "database_watcher";
  channel::source_state::phase phase = channel::source_state::phase::absent;
  std::string reason;
  bool said = false;
};

// Says in the log when the capture of a database changes its state: what an operator looks for first.
database_watcher_actor::behavior_type database_watcher(
    database_watcher_actor::stateful_pointer<database_watcher_state> self, std::string catalog,
    std::shared_ptr<channel::database_source> source);

}  // namespace understudy::service
