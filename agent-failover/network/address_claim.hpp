#pragma once

// One service address on one adapter, from the question whether it is free to its release. IPv4 by ARP (RFC
// 5227), IPv6 by neighbour discovery (RFC 4862 probe, RFC 4861 unsolicited advertisement with the override
// flag).
//
//   probe()    is it free? The answer comes by callback: at once when somebody answers, else after the
//   timings add()      gives it to the adapter, and watches for other holders from now on announce() tells
//   the neighbours now, after 0.2, 0.5, 1, 2, 5 s, then every 60 s while it is held release()  stops all of
//   it and removes the address if it was we who added it
//
// Thread rules: every function may be called from any thread; callbacks run on the claim's own thread, must
// return quickly and must not destroy the claim. The destructor stops the thread and leaves the address as it
// is, so that a restarted daemon can go on holding it: add() is idempotent.

#include <chrono>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "agent-failover/network/address_holder.hpp"
#include "agent-failover/network/ip_address.hpp"
#include "agent-failover/network/mac_address.hpp"

namespace understudy::network {

using std::chrono::milliseconds;

struct acd_timings {               // RFC 5227 section 1.1
  milliseconds first_wait{1000};   // PROBE_WAIT: a random delay up to this before the first probe
  int probes = 3;                  // PROBE_NUM
  milliseconds spacing_min{1000};  // PROBE_MIN
  milliseconds spacing_max{2000};  // PROBE_MAX
  milliseconds last_wait{2000};    // ANNOUNCE_WAIT: after the last probe, before the address counts as free
};
// For a takeover by hand, which has no failing pings to hide the probe behind: 3 probes in 0.3 s.
inline constexpr acd_timings quick_acd{milliseconds{0}, 3, milliseconds{80}, milliseconds{120},
                                       milliseconds{150}};

enum class probe_verdict {
  free,    // nobody answered
  in_use,  // `mac` holds it, or is asking for it at the same time
  failed,  // could not probe (`error`): no link, adapter gone
};

struct probe_report {
  probe_verdict verdict = probe_verdict::failed;
  mac_address mac;
  absl::Status error;
};

enum class conflict_kind {
  claims,  // the other machine says that the address is its own
  asks,    // the other machine probes whether it may take the address (a primary that comes back)
};

struct address_conflict {
  conflict_kind kind = conflict_kind::claims;
  mac_address mac;
  std::chrono::steady_clock::time_point at;
};

struct claim_events {
  std::function<void(const probe_report&)> on_probed;
  std::function<void(const address_conflict&)> on_conflict;  // at most 10 a second per other machine
  std::function<void(const absl::Status&)>
      on_trouble;  // announcing failed, the address vanished and was put back
};

class address_claim {
 public:
  // Opens the packet socket in the calling thread's network namespace. NOT_FOUND: no such adapter;
  // FAILED_PRECONDITION: it is no Ethernet; PERMISSION_DENIED: CAP_NET_RAW.
  static absl::StatusOr<std::unique_ptr<address_claim>> open(const std::string& adapter_name,
                                                             const ip_network& network, claim_events events);
  virtual ~address_claim() = default;

  virtual void probe(acd_timings timings = {}) = 0;  // a running probe starts over
  virtual void stop_probe() = 0;                     // no report follows
  virtual absl::StatusOr<address_presence> add() = 0;
  virtual void announce() = 0;  // (re)starts the schedule
  // `recorded_as_ours`: see ensure_removed.
  virtual absl::Status release(bool recorded_as_ours = false) = 0;
};

}  // namespace understudy::network
