#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "agent-primary/service/agent_actors.hpp"
#include "agent-primary/service/lease_keeper.hpp"
#include "common/actor/supervise.hpp"
#include "common/channel/database_source.hpp"

namespace understudy::service {

using watched_database = std::pair<std::string, std::shared_ptr<channel::database_source>>;

// What the root spawns, and spawns again when it dies.
struct root_children {
  std::shared_ptr<application::application_set> applications;
  std::function<void(const std::vector<application::application_status>&)> report;  // to the lease keeper
  std::function<lease::booted()> boot;
  lease_surroundings surroundings;
  std::vector<watched_database> databases;
  // The keepers are there, or there anew.
  std::function<void(application_keeper_actor, lease_keeper_actor)> keepers_ready;
  // Children die faster than they can be replaced: the process should end, and be started again.
  std::function<void()> give_up;
};

using root_actor = caf::typed_actor<
    // Feed systemd's watchdog: that this is handled shows that actors run.
    actors::handles<atom::look_atom>,
    // Watch these databases instead.
    actors::handles<atom::change_atom, std::vector<watched_database>>>;

struct root_state {
  static inline const char* name = "root";
  root_children children;
  application_keeper_actor applications;
  lease_keeper_actor lease;
  std::map<watched_database, database_watcher_actor> watchers;
  // Five deaths in a minute are not bad luck.
  actors::restart_budget budget{5, std::chrono::minutes{1}, std::chrono::milliseconds{0},
                                std::chrono::milliseconds{0}};
};

root_actor::behavior_type agent_root(root_actor::stateful_pointer<root_state> self, root_children children);

}  // namespace understudy::service

CAF_BEGIN_TYPE_ID_BLOCK(understudy_agent_root, understudy::actors::agent_types_begin + 50)
CAF_ADD_TYPE_ID(understudy_agent_root, (std::vector<understudy::service::watched_database>))
CAF_END_TYPE_ID_BLOCK(understudy_agent_root)
UNDERSTUDY_LOCAL_MESSAGE(std::vector<understudy::service::watched_database>)
