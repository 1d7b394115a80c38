#pragma once

#include "agent-failover/actors/actors.hpp"

namespace caf {
class actor_system;
}
namespace understudy::api {
class board;
}

namespace understudy::actors {

// `prober` outlives the actor. The gateway is pinged beside the primaries, under the target id "gateway".
self_health_actor spawn_self_health(caf::actor_system& system, network::prober& prober, api::board& board);

}  // namespace understudy::actors
