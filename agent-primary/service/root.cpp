#include "agent-primary/service/root.hpp"

#include <caf/send.hpp>
#include <caf/stateful_actor.hpp>
#include <caf/typed_event_based_actor.hpp>

#include <algorithm>
#include <set>
#include <utility>

#include "agent-primary/service/application_keeper.hpp"
#include "agent-primary/service/database_watcher.hpp"
#include "common/log/log.hpp"
#include "common/rpc/service_notice.hpp"

namespace understudy::service {
namespace {

using self_pointer = root_actor::stateful_pointer<root_state>;

void spawn_keepers(self_pointer self) {
  root_state& state = self->state;
  state.applications =
      self->spawn<caf::linked>(application_keeper, state.children.applications, state.children.report);
  // Handed over first, for the lease keeper's first act may be to start the applications.
  state.children.keepers_ready(state.applications, lease_keeper_actor{});
  state.lease = self->spawn<caf::linked>(lease_keeper, state.children.boot(), state.children.surroundings);
  state.children.keepers_ready(state.applications, state.lease);
}

// What is watched already goes on.
void watch(self_pointer self, const std::vector<watched_database>& databases) {
  auto& watchers = self->state.watchers;
  const std::set<watched_database> wanted(databases.begin(), databases.end());
  for (auto one = watchers.begin(); one != watchers.end();) {
    if (wanted.contains(one->first)) {
      ++one;
      continue;
    }
    self->unlink_from(one->second);
    caf::anon_send_exit(one->second, caf::exit_reason::kill);
    one = watchers.erase(one);
  }
  for (const watched_database& database : wanted) {
    if (watchers.contains(database)) continue;
    watchers.emplace(database, self->spawn<caf::linked>(database_watcher, database.first, database.second));
  }
}

bool is_watcher(const root_state& state, const caf::actor_addr& who) {
  return std::any_of(state.watchers.begin(), state.watchers.end(),
                     [&](const auto& watcher) { return who == watcher.second.address(); });
}

void child_died(self_pointer self, const caf::actor_addr& who, const caf::error& reason) {
  root_state& state = self->state;
  if (is_watcher(state, who)) {
    std::erase_if(state.watchers, [&](const auto& watcher) { return who == watcher.second.address(); });
    log::error("", "a database watcher ended: {}", actors::text_of(reason));
    return;
  }
  log::error("", "a keeper ended and is started again: {}", actors::text_of(reason));
  if (state.budget.after_end(std::chrono::steady_clock::now()) < std::chrono::milliseconds{0}) {
    log::error("", "keepers end faster than they can be replaced");
    state.children.give_up();
    return;
  }
  // Both begin anew: what the gate knows is durable, and the applications are found running.
  for (const caf::actor& keeper :
       {caf::actor_cast<caf::actor>(state.applications), caf::actor_cast<caf::actor>(state.lease)}) {
    if (!keeper || keeper.address() == who) continue;
    self->unlink_from(keeper);
    caf::anon_send_exit(keeper, caf::exit_reason::kill);
  }
  spawn_keepers(self);
}

}  // namespace

root_actor::behavior_type agent_root(self_pointer self, root_children children) {
  self->state.children = std::move(children);
  actors::trap_child_exits(
      self,
      [self](const caf::actor_addr& who) {
        return who == self->state.applications.address() || who == self->state.lease.address() ||
               is_watcher(self->state, who);
      },
      [self](const caf::actor_addr& who, const caf::error& reason) { child_died(self, who, reason); });
  spawn_keepers(self);
  watch(self, std::exchange(self->state.children.databases, {}));
  if (const auto interval = rpc::service_notice::alive_interval(); interval.count() > 0) {
    self->delayed_send(self, interval, atom::look_v);
  }
  return {
      [self](atom::look_atom) {
        rpc::service_notice::alive();
        self->delayed_send(self, rpc::service_notice::alive_interval(), atom::look_v);
      },
      [self](atom::change_atom, const std::vector<watched_database>& databases) { watch(self, databases); },
  };
}

}  // namespace understudy::service
