#include "agent-failover/network/self_health.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "agent-failover/network/adapters.hpp"

namespace understudy::network {
namespace {

bool is_failure(probe_outcome outcome) {
  return outcome == probe_outcome::timeout || outcome == probe_outcome::send_failed;
}

bool silent_together(const health_facts& facts, const health_limits& limits) {
  if (facts.targets == 0 || facts.failing < facts.targets || facts.witness_answers) return false;
  if (facts.gateway == gateway_state::answers) return false;
  if (facts.gateway == gateway_state::silent) return true;
  // Without a gateway to ask, several primaries that go silent in the same moment point at what they share:
  // us. Those that failed one after the other are believed.
  return facts.targets > 1 && facts.onset_spread <= limits.simultaneous;
}

}  // namespace

const char* to_string(blind_reason reason) {
  switch (reason) {
    case blind_reason::none:
      return "healthy";
    case blind_reason::no_adapter:
      return "no adapter";
    case blind_reason::no_carrier:
      return "no carrier";
    case blind_reason::frozen:
      return "frozen";
    case blind_reason::cannot_send:
      return "cannot send";
    case blind_reason::isolated:
      return "isolated";
  }
  return "?";
}

adapter_state look_at_adapter(const std::string& name) {
  const auto found = find_adapter(name);
  if (absl::IsNotFound(found.status())) return adapter_state::down;
  if (!found.ok()) return adapter_state::up;
  if (!found->up) return adapter_state::down;
  return found->carrier ? adapter_state::up : adapter_state::no_carrier;
}

health_verdict judge(const health_facts& facts, const health_limits& limits) {
  if (facts.since_lag && *facts.since_lag < limits.settle)
    return {blind_reason::frozen,
            fmt::format("this host stood still {} ms ago; nothing is concluded for {} ms",
                        facts.since_lag->count(), limits.settle.count())};
  if (facts.link == adapter_state::down)
    return {blind_reason::no_adapter, "this host's network adapter is down or gone"};
  if (facts.link == adapter_state::no_carrier)
    return {blind_reason::no_carrier, "this host's network adapter has no link"};
  if (facts.targets != 0 && facts.refused == facts.targets && !facts.witness_answers &&
      facts.gateway != gateway_state::answers)
    return {blind_reason::cannot_send, "this host's kernel refuses to send to every primary"};
  if (silent_together(facts, limits))
    return {blind_reason::isolated,
            facts.gateway == gateway_state::silent
                ? "the gateway and every primary are silent: this host seems to be cut off"
                : "every primary went silent in the same moment: this host seems to be cut off"};
  return {};
}

self_health_inputs::self_health_inputs(health_limits limits, std::string gateway_target)
    : limits_(limits), gateway_target_(std::move(gateway_target)) {}

void self_health_inputs::note(const probe_sample& sample, monotonic_time now) {
  if (sample.outcome == probe_outcome::host_was_late) {
    const auto behind = now - sample.sent_at;
    if (behind >= limits_.lag) last_lag_ = now;
    return;
  }
  const bool gateway = sample.target == gateway_target_;
  target_state& state = gateway ? gateway_ : targets_[sample.target];
  if (gateway && sample.outcome == probe_outcome::reply) gateway_ever_answered_ = true;
  state.last = sample.outcome;
  if (!is_failure(sample.outcome))
    state.failing_since.reset();
  else if (!state.failing_since)
    state.failing_since = sample.sent_at;
}

void self_health_inputs::note_lag(nanoseconds lag, monotonic_time now) {
  if (lag >= limits_.lag) last_lag_ = now;
}

void self_health_inputs::note_link(adapter_state link) {
  link_ = link;
}

void self_health_inputs::note_witness(monotonic_time now) {
  last_witness_ = now;
}

void self_health_inputs::forget(const std::string& target) {
  if (target == gateway_target_) {
    gateway_ = {};
    gateway_ever_answered_ = false;
  } else {
    targets_.erase(target);
  }
}

health_facts self_health_inputs::facts(monotonic_time now) const {
  health_facts facts;
  facts.link = link_;
  if (gateway_ever_answered_)
    facts.gateway = is_failure(gateway_.last) ? gateway_state::silent : gateway_state::answers;
  facts.witness_answers = last_witness_ && now - *last_witness_ <= limits_.reply_age;
  if (last_lag_) facts.since_lag = std::chrono::duration_cast<milliseconds>(now - *last_lag_);
  facts.targets = targets_.size();
  std::optional<monotonic_time> first;
  std::optional<monotonic_time> last;
  for (const auto& [name, state] : targets_) {
    if (!is_failure(state.last)) continue;
    ++facts.failing;
    if (state.last == probe_outcome::send_failed) ++facts.refused;
    first = first ? std::min(*first, *state.failing_since) : *state.failing_since;
    last = last ? std::max(*last, *state.failing_since) : *state.failing_since;
  }
  if (first) facts.onset_spread = std::chrono::duration_cast<milliseconds>(*last - *first);
  return facts;
}

}  // namespace understudy::network
