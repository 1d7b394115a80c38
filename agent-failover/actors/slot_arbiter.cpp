#include "agent-failover/actors/slot_arbiter.hpp"

#include <caf/actor_system.hpp>
#include <caf/stateful_actor.hpp>
#include <caf/typed_event_based_actor.hpp>

#include <algorithm>
#include <deque>

#include "agent-failover/api/board.hpp"

namespace understudy::actors {
namespace {

struct waiting {
  std::string server;
  supervisor_actor supervisor;
  std::uint64_t serial = 0;  // of the request that is waiting
};

struct arbiter_state {
  static inline const char* name = "slot_arbiter";
  std::string holder;
  std::deque<waiting> queue;
};

using self_pointer = arbiter_actor::stateful_pointer<arbiter_state>;

void publish(self_pointer self, api::board* board) {
  board->update_host([&](v1::HostState& host) {
    host.set_standing_in_for(self->state.holder);
    host.clear_queue();
    for (const auto& one : self->state.queue) host.add_queue(one.server);
  });
}

void tell_queue(self_pointer self) {
  std::uint32_t position = 0;
  for (const auto& one : self->state.queue) {
    self->send(
        one.supervisor, atom::slot_v,
        slot_report{
            .serial = one.serial, .granted = false, .position = ++position, .holder = self->state.holder});
  }
}

arbiter_actor::behavior_type arbiter(self_pointer self, api::board* board) {
  return {
      [self, board](atom::request_atom, const std::string& server, const supervisor_actor& supervisor,
                    std::uint64_t serial) {
        auto& state = self->state;
        if (state.holder.empty() || state.holder == server) {
          state.holder = server;
          self->send(supervisor, atom::slot_v,
                     slot_report{.serial = serial, .granted = true, .position = 0, .holder = server});
        } else {
          auto queued = std::find_if(state.queue.begin(), state.queue.end(),
                                     [&](const waiting& one) { return one.server == server; });
          if (queued == state.queue.end()) {
            state.queue.push_back({server, supervisor, serial});
          } else {
            queued->supervisor = supervisor;
            queued->serial = serial;
          }
          tell_queue(self);
        }
        publish(self, board);
      },
      [self, board](atom::release_atom, const std::string& server) {
        auto& state = self->state;
        std::erase_if(state.queue, [&](const waiting& one) { return one.server == server; });
        if (state.holder == server) {
          state.holder.clear();
          if (!state.queue.empty()) {
            const waiting next = state.queue.front();
            state.queue.pop_front();
            state.holder = next.server;
            self->send(
                next.supervisor, atom::slot_v,
                slot_report{.serial = next.serial, .granted = true, .position = 0, .holder = next.server});
          }
        }
        tell_queue(self);
        publish(self, board);
      },
  };
}

}  // namespace

arbiter_actor spawn_slot_arbiter(caf::actor_system& system, api::board& board) {
  return system.spawn(arbiter, &board);
}

}  // namespace understudy::actors
