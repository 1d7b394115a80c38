#include "agent-primary/lease/gate.hpp"

#include <fmt/core.h>

#include <algorithm>

namespace understudy::lease {
namespace {

std::vector<service_address> without(std::vector<service_address> from,
                                     const std::vector<service_address>& taken) {
  std::erase_if(from, [&](const service_address& a) {
    return std::find(taken.begin(), taken.end(), a) != taken.end();
  });
  return from;
}

// Every row is one member function; the comment above it is the rule.
struct turn {
  gate_state s;
  std::vector<gate_action> actions;

  template <class Action>
  void act(Action action) {
    actions.emplace_back(std::move(action));
  }

  void store_now() { act(store{s.right}); }

  // The right is here: addresses first, for an application may want to bind them.
  void open() {
    const bool being_stopped = s.phase == gate_phase::closing;
    s.phase = gate_phase::open;
    s.term_sent = false;
    s.kill_sent = false;
    if (!s.right.service_addresses.empty()) act(add_addresses{s.right.service_addresses});
    act(open_flag{});
    start_if_possible();
    // A wish that is not fulfilled now waits for nothing but the end of a stop of the gate's own: it must not
    // undo an operator's later one.
    if (!being_stopped) s.start_wanted = false;
  }

  void start_if_possible() {
    if (!s.start_wanted || !s.applications_down) return;
    s.start_wanted = false;
    // Taken as up from the order on, so that a fence that follows at once stops them too.
    s.applications_down = false;
    act(start_applications{});
  }

  // The right is not here: nothing may be started, what runs is stopped, then the addresses go.
  void close(std::chrono::milliseconds grace, const std::string& why) {
    s.phase = gate_phase::closing;
    act(close_flag{});
    if (s.applications_down) {
      closed();
    } else {
      act(stop_applications{grace, why});
    }
  }

  void closed() {
    s.phase = gate_phase::closed;
    if (!s.right.service_addresses.empty()) act(remove_addresses{s.right.service_addresses});
  }

  // -- booted

  void on(const booted& e) {
    s = {};
    s.right = e.right;
    s.record_damaged = e.damaged;
    s.applications_down = !e.applications_up;
    s.start_wanted = e.machine_booted;
    if (e.damaged) {
      // A record that cannot be read could have said anything: what runs goes on, nothing is started,
      // somebody must answer.
      act(
          note{"the record of the right to run is damaged; asking the failover host, and starting nothing "
               "before it answers"});
      act(close_flag{});
      act(ask_host{});
    } else if (e.right.owner == right_owner::failover_host) {
      // A stand-in may run: stay down, also after a reboot; the host will say when it is over.
      s.start_wanted = false;
      act(note{fmt::format("kept down: {} stands in ({})", e.right.owner_name, e.right.reason)});
      close(std::chrono::milliseconds{0}, "the failover host stands in");
      if (e.host_known) act(ask_host{});
    } else if (!e.machine_booted) {
      // Only the agent was restarted: the right did not move meanwhile, but a lease may have run out.
      if (e.right.leased) s.lease_end = e.lease_end.value_or(e.now);
      open();
      if (s.lease_end) tick(e.now);
    } else if (e.host_known) {
      // The machine was reset: a stand-in may have started meanwhile, so ask before starting anything. A flag
      // that a power cut left behind says nothing about now.
      act(close_flag{});
      act(ask_host{});
    } else {
      // No failover host was ever met: nobody else can run.
      open();
    }
  }

  // -- granted

  void on(const granted& e) {
    if (!s.record_damaged && e.epoch < s.right.epoch) {
      act(refuse{fmt::format("epoch {} is older than {}, which this agent holds", e.epoch, s.right.epoch)});
      return;
    }
    if (!s.record_damaged && e.epoch == s.right.epoch && s.right.owner == right_owner::failover_host) {
      act(refuse{fmt::format("epoch {} belongs to {}; a return of the right needs a greater one", e.epoch,
                             s.right.owner_name)});
      return;
    }
    std::optional<time_point> lease_end;
    if (e.lease) {
      lease_end = e.asked_at + *e.lease;
      // Answers may overtake each other: a lease of the same epoch never becomes shorter.
      if (e.epoch == s.right.epoch && s.lease_end) lease_end = std::max(*lease_end, *s.lease_end);
      if (*lease_end - term_before_end <= e.now) {
        act(refuse{"the lease came too late: it would end before it could be used"});
        return;
      }
    }
    const right_record before = s.right;
    s.right.epoch = e.epoch;
    s.right.owner = right_owner::primary;
    s.right.owner_name = e.owner_name;
    if (before.owner != right_owner::primary || before.epoch != e.epoch) {
      s.right.since_unix = e.wall_unix;
      s.right.reason =
          fmt::format("granted by {}", e.host_address.empty() ? "the failover host" : e.host_address);
    }
    if (!e.host_address.empty()) s.right.host_address = e.host_address;
    if (!e.server.empty()) s.right.server = e.server;
    s.right.leased = e.lease.has_value();
    s.right.service_addresses = e.addresses;
    s.lease_end = lease_end;
    // While they run there is nothing to start, now or after an operator's stop.
    const bool they_run = s.phase == gate_phase::open && !s.applications_down;
    s.start_wanted = s.start_wanted || (e.start_applications && !they_run);
    const bool was_damaged = s.record_damaged;
    s.record_damaged = false;
    if (was_damaged || s.right != before) store_now();
    const std::vector<service_address> dropped = without(before.service_addresses, e.addresses);
    if (!dropped.empty()) act(remove_addresses{dropped});
    if (s.phase == gate_phase::open) {
      // A renewal: only what is new is added.
      s.term_sent = false;
      const std::vector<service_address> added = without(e.addresses, before.service_addresses);
      if (!added.empty()) act(add_addresses{added});
      start_if_possible();
    } else {
      open();
    }
  }

  // -- host_met

  void on(const host_met& e) {
    const right_record before = s.right;
    if (!e.host_address.empty()) s.right.host_address = e.host_address;
    if (!e.server.empty()) s.right.server = e.server;
    if (s.record_damaged || s.right == before) return;
    store_now();
  }

  // -- fenced

  void on(const fenced& e) {
    if (!s.record_damaged && e.epoch < s.right.epoch) {
      act(refuse{fmt::format("epoch {} is older than {}, which this agent holds", e.epoch, s.right.epoch)});
      return;
    }
    if (!s.record_damaged && e.epoch == s.right.epoch && s.right.owner == right_owner::primary) {
      act(refuse{
          fmt::format("epoch {} is this primary's; who takes the right needs a greater one", e.epoch)});
      return;
    }
    const right_record before = s.right;
    s.right.epoch = e.epoch;
    s.right.owner = right_owner::failover_host;
    s.right.owner_name = e.owner_name;
    if (before.owner != right_owner::failover_host || before.epoch != e.epoch) {
      s.right.since_unix = e.wall_unix;
      s.right.reason = e.reason;
    }
    if (!e.host_address.empty()) s.right.host_address = e.host_address;
    if (!e.server.empty()) s.right.server = e.server;
    // Both lists go: the host may name an address that an older record did not have.
    for (const service_address& a : without(e.addresses, before.service_addresses))
      s.right.service_addresses.push_back(a);
    s.lease_end.reset();
    s.start_wanted = false;
    s.record_damaged = false;
    if (s.right != before) store_now();
    if (s.phase == gate_phase::closing) return;  // already so
    if (s.phase == gate_phase::closed) {
      closed();  // an address may be new on the list, or may not have gone the first time
      return;
    }
    close(std::chrono::milliseconds{0}, e.reason);
  }

  // -- ask_timed_out

  void on(const ask_timed_out&) {
    if (s.phase != gate_phase::asking) return;
    if (s.record_damaged || s.right.leased) {
      // Silence may mean that a stand-in runs where we cannot hear it.
      act(note{"kept down: nobody grants the right to run; still asking"});
      act(ask_host{});
      return;
    }
    // Mode compat: as with the classic product, silence means that nobody stands in.
    act(note{"nobody answered; starting, for no stand-in is on record"});
    open();
  }

  // -- applications_changed

  void on(const applications_changed& e) {
    s.applications_down = e.down;
    switch (s.phase) {
      case gate_phase::closing:
        if (e.down) closed();
        break;
      case gate_phase::closed:
        // Started behind the gate's back.
        if (!e.down) close(std::chrono::milliseconds{0}, "started without the right to run");
        break;
      case gate_phase::open:
        start_if_possible();
        break;
      case gate_phase::asking:
        break;
    }
  }

  // -- start_asked

  void on(const start_asked&) {
    switch (s.phase) {
      case gate_phase::open:
        return;
      case gate_phase::asking:
        act(refuse{"the failover host has not yet said whether this primary may run"});
        return;
      case gate_phase::closing:
      case gate_phase::closed:
        act(refuse{
            s.right.owner == right_owner::failover_host
                ? fmt::format("kept down: {} stands in since epoch {} ({})", s.right.owner_name,
                              s.right.epoch, s.right.reason)
                : "kept down: the lease ran out, and neither the failover host nor a witness renews it"});
    }
  }

  // -- clock_ticked

  void on(const clock_ticked& e) { tick(e.now); }

  void tick(time_point now) {
    if (!s.lease_end) return;
    if (s.phase == gate_phase::open && !s.term_sent && now >= *s.lease_end - term_before_end) {
      s.term_sent = true;
      // With the next grant, what this stop ends; not what an operator had stopped before.
      s.start_wanted = s.start_wanted || !s.applications_down;
      const time_point kill_at = *s.lease_end - kill_before_end;
      const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(kill_at - now);
      act(note{"the lease runs out, and nobody renews it: stopping the applications"});
      close(std::max(left, std::chrono::milliseconds{1}), "the lease runs out");
    }
    if (s.phase == gate_phase::closing && s.term_sent && !s.kill_sent &&
        now >= *s.lease_end - kill_before_end) {
      s.kill_sent = true;
      act(kill_applications{"the lease ends"});
      if (!s.right.service_addresses.empty()) act(remove_addresses{s.right.service_addresses});
    }
  }
};

}  // namespace

const char* to_string(gate_phase phase) {
  switch (phase) {
    case gate_phase::asking:
      return "asking";
    case gate_phase::open:
      return "open";
    case gate_phase::closing:
      return "closing";
    case gate_phase::closed:
      return "closed";
  }
  return "?";
}

gate_step step(const gate_state& state, const gate_event& event) {
  turn t{state, {}};
  std::visit([&t](const auto& e) { t.on(e); }, event);
  return {std::move(t.s), std::move(t.actions)};
}

std::optional<time_point> next_deadline(const gate_state& state) {
  if (!state.lease_end) return std::nullopt;
  if (state.phase == gate_phase::open && !state.term_sent) return *state.lease_end - term_before_end;
  if (state.phase == gate_phase::closing && state.term_sent && !state.kill_sent)
    return *state.lease_end - kill_before_end;
  return std::nullopt;
}

}  // namespace understudy::lease
