#include "agent-failover/actors/self_health.hpp"

#include <caf/actor_system.hpp>
#include <caf/stateful_actor.hpp>
#include <caf/typed_event_based_actor.hpp>

#include <map>

#include "agent-failover/api/board.hpp"
#include "agent-failover/network/adapters.hpp"
#include "common/log/log.hpp"

namespace understudy::actors {
namespace {

using std::chrono::steady_clock;

constexpr std::chrono::milliseconds look_again{500};
constexpr std::chrono::seconds adapters_every{2};
constexpr network::probe_timing gateway_timing{.interval = std::chrono::milliseconds{1000},
                                               .timeout = std::chrono::milliseconds{800}};

struct health_state {
  static inline const char* name = "self_health";
  network::self_health_inputs inputs;
  network::health_verdict verdict;
  std::map<std::string, supervisor_actor> supervisors;
  std::string gateway;
  steady_clock::time_point adapters_seen;
};

using self_pointer = self_health_actor::stateful_pointer<health_state>;

// The default gateway is pinged; a host without one has only its primaries to compare with.
void follow_gateway(self_pointer self, network::prober* prober) {
  auto gateways = network::default_gateways();
  const std::string now =
      gateways.ok() && !gateways->empty() ? network::to_string(gateways->front().address) : "";
  auto& state = self->state;
  if (now != state.gateway) {
    prober->remove("gateway");
    if (!now.empty()) {
      if (absl::Status added = prober->add("gateway", gateways->front().address, gateway_timing);
          !added.ok()) {
        log::warning("", "the gateway {} cannot be pinged: {}", now, added.ToString());
      }
    }
    state.gateway = now;
  }
  auto adapters = network::list_adapters();
  if (!adapters.ok()) return;
  auto link = network::adapter_state::down;
  for (const auto& adapter : *adapters) {
    if (adapter.loopback || !adapter.up) continue;
    if (adapter.carrier) link = network::adapter_state::up;
    if (!adapter.carrier && link == network::adapter_state::down) link = network::adapter_state::no_carrier;
  }
  // A host whose primaries are all reached over loopback (a trial on one machine) has no link to lose.
  const bool only_loopback =
      std::all_of(adapters->begin(), adapters->end(), [](const auto& a) { return a.loopback; });
  state.inputs.note_link(only_loopback ? network::adapter_state::up : link);
}

void judge(self_pointer self, api::board* board) {
  auto& state = self->state;
  network::health_verdict now = state.inputs.verdict(steady_clock::now());
  if (now.reason == state.verdict.reason) return;
  state.verdict = now;
  if (now.healthy()) {
    log::info("", "this host trusts its own network and clock again");
  } else {
    log::warning("", "this host believes no failure for now: {}", now.text);
  }
  board->update_host([&](v1::HostState& host) {
    host.set_blind(!now.healthy());
    host.set_reason(now.text);
  });
  for (const auto& [server, supervisor] : state.supervisors) self->send(supervisor, atom::health_v, now);
}

self_health_actor::behavior_type self_health(self_pointer self, network::prober* prober, api::board* board) {
  self->delayed_send(self, look_again, atom::second_v);
  follow_gateway(self, prober);
  return {
      [self, board](atom::sample_atom, const network::probe_sample& sample) {
        self->state.inputs.note(sample, steady_clock::now());
        if (sample.outcome != network::probe_outcome::reply) judge(self, board);
      },
      [self](atom::line_atom) { self->state.inputs.note_witness(steady_clock::now()); },
      [self](atom::request_atom, const std::string& server, const supervisor_actor& supervisor) {
        self->state.supervisors[server] = supervisor;
        if (!self->state.verdict.healthy()) self->send(supervisor, atom::health_v, self->state.verdict);
      },
      [self](atom::forget_atom, const std::string& server) { self->state.inputs.forget(server); },
      [self, prober, board](atom::second_atom) {
        self->delayed_send(self, look_again, atom::second_v);
        const auto now = steady_clock::now();
        self->state.inputs.note_lag(prober->statistics().worst_lag, now);
        if (now - self->state.adapters_seen >= adapters_every) {
          self->state.adapters_seen = now;
          follow_gateway(self, prober);
        }
        judge(self, board);
      },
  };
}

}  // namespace

self_health_actor spawn_self_health(caf::actor_system& system, network::prober& prober, api::board& board) {
  return system.spawn(self_health, &prober, &board);
}

}  // namespace understudy::actors
