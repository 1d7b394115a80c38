#pragma once

// Is it this host that is cut off, rather than the primaries? A pure decision; what it needs is gathered by
// self_health_inputs. While the verdict is blind, failure counters stand still.

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "agent-failover/network/prober.hpp"

namespace understudy::network {

struct health_limits {
  milliseconds lag{2000};     // a slot later than this: the host was frozen or starved (Sentinel's TILT)
  milliseconds settle{5000};  // after such a lag nothing is believed for this long
  milliseconds simultaneous{4000};  // first failures within this are one event (two default intervals)
  milliseconds reply_age{5000};     // an answer older than this no longer proves that the network works
};

enum class blind_reason {
  none,
  no_adapter,   // the adapter that leads to the primaries is gone or down
  no_carrier,   // it has no link
  frozen,       // this process did not run for a while
  cannot_send,  // the kernel refuses to send to every target
  isolated,     // gateway and all primaries went silent together, and no witness answers
};
const char* to_string(blind_reason reason);

enum class adapter_state {
  up,
  no_carrier,
  down,  // administratively, or there is no such adapter
};
// Asks the kernel; in doubt `up`. For the first look and after every adapter_watcher call. Any thread.
adapter_state look_at_adapter(const std::string& name);

enum class gateway_state {
  unknown,  // none is configured, or it never answered a ping: proves nothing
  answers,
  silent,  // it used to answer
};

struct health_facts {
  adapter_state link = adapter_state::up;
  gateway_state gateway = gateway_state::unknown;
  bool witness_answers = false;           // any witness or agent was heard lately by other means than ping
  std::optional<milliseconds> since_lag;  // since the last lag above the limit
  std::size_t targets = 0;                // primaries being pinged
  std::size_t failing = 0;                // of these, whose last sample was a timeout or a refused send
  std::size_t refused = 0;                // of these, whose last sample was a refused send
  milliseconds onset_spread{0};           // between the first failures of the failing ones
};

struct health_verdict {
  blind_reason reason = blind_reason::none;
  std::string text;  // one sentence for the operator; empty when healthy
  bool healthy() const { return reason == blind_reason::none; }
};

health_verdict judge(const health_facts& facts, const health_limits& limits);

// Gathers facts from the prober's samples. Not thread-safe: one actor feeds and asks it. The gateway is a
// target of the same prober whose id is `gateway_target`.
class self_health_inputs {
 public:
  explicit self_health_inputs(health_limits limits = {}, std::string gateway_target = "gateway");

  void note(const probe_sample& sample, monotonic_time now);
  void note_lag(nanoseconds lag, monotonic_time now);  // prober_statistics::worst_lag
  void note_link(adapter_state link);
  void note_witness(monotonic_time now);   // a witness or an agent was heard
  void forget(const std::string& target);  // removed or paused

  health_facts facts(monotonic_time now) const;
  health_verdict verdict(monotonic_time now) const { return judge(facts(now), limits_); }

 private:
  struct target_state {
    probe_outcome last = probe_outcome::host_was_late;
    std::optional<monotonic_time> failing_since;
  };
  health_limits limits_;
  std::string gateway_target_;
  std::map<std::string, target_state> targets_;
  target_state gateway_;
  bool gateway_ever_answered_ = false;
  adapter_state link_ = adapter_state::up;
  std::optional<monotonic_time> last_lag_;
  std::optional<monotonic_time> last_witness_;
};

}  // namespace understudy::network
