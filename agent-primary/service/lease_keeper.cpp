#include "agent-primary/service/lease_keeper.hpp"

#include <caf/send.hpp>
#include <caf/stateful_actor.hpp>
#include <caf/typed_event_based_actor.hpp>

#include <algorithm>

#include "common/log/log.hpp"
#include "common/status/status_text.hpp"

namespace understudy::service {
namespace {

using self_pointer = lease_keeper_actor::stateful_pointer<lease_keeper_state>;

lease_snapshot snapshot_of(const lease_keeper_state& state, std::string refusal = "") {
  return {state.gate.phase, state.gate.right, std::move(refusal), state.gate.applications_down};
}

void ask_once(self_pointer self) {
  lease_keeper_state& state = self->state;
  state.around.ask_host(state.gate.right, [keeper = lease_keeper_actor(self)](lease::gate_event event) {
    caf::anon_send(keeper, atom::feed_v, gate_request{std::move(event), nullptr});
  });
  self->delayed_send(self, state.around.ask_interval, atom::ask_v, state.ask_timer);
}

// Carries out one turn's actions in order. A record that cannot be written stops what it would have
// permitted, and does not stop what it would have forbidden.
class execution {
 public:
  explicit execution(self_pointer self) : self_(self), around_(self->state.around) {}

  std::string all(const std::vector<lease::gate_action>& actions) {
    for (const lease::gate_action& action : actions) {
      if (blocked_) break;
      std::visit([this](const auto& a) { act(a); }, action);
    }
    return refusal_;
  }
  bool blocked() const { return blocked_; }

 private:
  void act(const lease::store& a) {
    const absl::Status status = around_.store(a.right);
    if (status.ok()) return;
    refusal_ = fmt::format("the right to run could not be recorded: {}", message_of(status));
    log::error("", "{}", refusal_);
    blocked_ = a.right.owner == lease::right_owner::primary;
  }
  void act(const lease::ask_host&) {
    lease_keeper_state& state = self_->state;
    state.ask_until = around_.now() + around_.boot_wait;
    ++state.ask_timer;
    ask_once(self_);
  }
  void act(const lease::add_addresses& a) { note_failure(around_.add_addresses(a.addresses)); }
  void act(const lease::remove_addresses& a) { note_failure(around_.remove_addresses(a.addresses)); }
  void act(const lease::start_applications&) { around_.start_applications(); }
  void act(const lease::stop_applications& a) { around_.stop_applications(a.grace, a.why); }
  void act(const lease::kill_applications& a) {
    around_.stop_applications(std::chrono::milliseconds{1}, a.why);
  }
  void act(const lease::open_flag&) { around_.set_flag(true); }
  void act(const lease::close_flag&) { around_.set_flag(false); }
  void act(const lease::refuse& a) { refusal_ = a.reason; }
  void act(const lease::note& a) { log::info("", "{}", a.text); }

  void note_failure(const absl::Status& status) {
    if (status.ok()) return;
    refusal_ = std::string(message_of(status));
    log::error("", "{}", refusal_);
  }

  self_pointer self_;
  lease_surroundings& around_;
  std::string refusal_;
  bool blocked_ = false;
};

void feed(self_pointer self, const lease::gate_event& event,
          const std::function<void(const lease_snapshot&)>& answer = nullptr) {
  lease_keeper_state& state = self->state;
  const lease::gate_state before = state.gate;
  lease::gate_step turn = lease::step(state.gate, event);
  state.gate = std::move(turn.state);
  execution run(self);
  const std::string refusal = run.all(turn.actions);
  // A right that is not on record is not held.
  if (run.blocked()) state.gate = before;

  if (before.phase != state.gate.phase) {
    log::info("", "the gate is {}", lease::to_string(state.gate.phase));
    if (state.gate.phase != lease::gate_phase::asking) state.around.boot_decided();
  }
  if (state.gate.phase != lease::gate_phase::asking &&
      state.gate.right.owner != lease::right_owner::failover_host) {
    ++state.ask_timer;  // answered: a timer under way is stale
  }
  if (before.lease_end != state.gate.lease_end) state.around.keep_lease_end(state.gate.lease_end);
  const std::optional<lease::time_point> deadline = lease::next_deadline(state.gate);
  if (deadline && deadline != lease::next_deadline(before)) {
    const auto wait = std::max(*deadline - state.around.now(), lease::time_point::duration::zero());
    self->delayed_send(self, std::chrono::duration_cast<std::chrono::nanoseconds>(wait), atom::due_v,
                       ++state.timer);
  }
  if (answer) answer(snapshot_of(state, refusal));
  if (before != state.gate) state.around.publish(snapshot_of(state));
}

}  // namespace

lease_keeper_actor::behavior_type lease_keeper(self_pointer self, lease::booted boot,
                                               lease_surroundings around) {
  self->state.around = std::move(around);
  feed(self, boot);
  return {
      [self](atom::feed_atom, const gate_request& request) { feed(self, request.event, request.answer); },
      [self](atom::change_atom, const std::vector<application::application_status>& applications) {
        const bool down = std::none_of(applications.begin(), applications.end(),
                                       [](const application::application_status& a) {
                                         return a.up() || a.state == application::application_state::failed;
                                       });
        if (down != self->state.gate.applications_down) feed(self, lease::applications_changed{down});
      },
      [self](atom::ask_atom, std::uint64_t number) {
        lease_keeper_state& state = self->state;
        if (number != state.ask_timer) return;
        if (state.around.now() < state.ask_until) {
          ask_once(self);
        } else {
          feed(self, lease::ask_timed_out{});
        }
      },
      [self](atom::due_atom, std::uint64_t number) {
        if (number == self->state.timer) feed(self, lease::clock_ticked{self->state.around.now()});
      },
  };
}

}  // namespace understudy::service
