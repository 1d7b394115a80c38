#include "agent-failover/actors/journal.hpp"

#include <caf/actor_system.hpp>
#include <caf/sec.hpp>
#include <caf/stateful_actor.hpp>
#include <caf/typed_event_based_actor.hpp>

#include "agent-failover/api/board.hpp"
#include "common/log/log.hpp"
#include "common/status/status_text.hpp"

namespace understudy::actors {
namespace {

struct journal_state {
  static inline const char* name = "journal";
  std::shared_ptr<store::state_store> store;
};

journal_actor::behavior_type journal(journal_actor::stateful_pointer<journal_state> self,
                                     std::shared_ptr<store::state_store> store, api::board* board) {
  self->state.store = std::move(store);
  return {
      [self, board](atom::commit_atom, const changes_ptr& what) -> caf::result<changes_ptr> {
        if (absl::Status status = self->state.store->commit(*what); !status.ok()) {
          log::error("", "state.db cannot be written, nothing is done until it can: {}", message_of(status));
          return caf::make_error(caf::sec::runtime_error, status.ToString());
        }
        for (const auto& event : what->events) board->publish(event);
        return what;
      },
  };
}

}  // namespace

journal_actor spawn_journal(caf::actor_system& system, std::shared_ptr<store::state_store> store,
                            api::board& board) {
  return system.spawn<caf::detached>(journal, std::move(store), &board);
}

}  // namespace understudy::actors
