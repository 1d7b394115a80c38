#pragma once

#include "agent-failover/actors/actors.hpp"

namespace caf {
class actor_system;
}
namespace understudy::api {
class board;
}

namespace understudy::actors {

// Publishes holder and queue. What it knows is not durable: after a restart each supervisor that held or
// wanted the place asks again, holders first (they ask while the daemon starts, before any ping is sent).
arbiter_actor spawn_slot_arbiter(caf::actor_system& system, api::board& board);

}  // namespace understudy::actors
