#pragma once

#include <memory>

#include "agent-failover/actors/actors.hpp"

namespace caf {
class actor_system;
}
namespace understudy::api {
class board;
}

namespace understudy::actors {

// Spawned detached, for each commit waits for the disk. Publishes the events that became durable.
journal_actor spawn_journal(caf::actor_system& system, std::shared_ptr<store::state_store> store,
                            api::board& board);

}  // namespace understudy::actors
