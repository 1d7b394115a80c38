#include "common/actor/actor_config.hpp"

#include <caf/atom.hpp>

namespace understudy::actors {

actor_config::actor_config(std::size_t threads) {
  set("scheduler.policy", caf::atom("sharing"));
  set("scheduler.max-threads", threads);
}

}  // namespace understudy::actors
