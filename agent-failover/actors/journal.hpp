#pragma once

#include <chrono>
#include <memory>

#include "agent-failover/actors/actors.hpp"

namespace caf {
class actor_system;
}
namespace understudy::api {
class board;
}

namespace understudy::actors {

// For an answer of the journal: a disk that takes longer is broken.
inline constexpr std::chrono::seconds journal_timeout{30};

// Spawned detached, for each commit waits for the disk. Publishes the events that became durable.
journal_actor spawn_journal(caf::actor_system& system, std::shared_ptr<store::state_store> store,
                            api::board& board);

}  // namespace understudy::actors
