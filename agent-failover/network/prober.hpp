#pragma once

// Pings every primary from one thread over one ICMP and one ICMPv6 socket. It decides nothing: each slot of
// each target ends in exactly one sample.
//
// Slot k of a target is sent at start + k * interval on CLOCK_MONOTONIC, so nothing drifts. A reply counts
// when it comes from the address that was asked, carries our identifier and the random nonce of that very
// probe, and reached the kernel (receive time stamp) within the timeout, even if this process was not running
// just then. What this host slept through is reported as its own lateness, never as a failure of a target.

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "agent-failover/network/ip_address.hpp"

namespace understudy::network {

using monotonic_clock = std::chrono::steady_clock;  // CLOCK_MONOTONIC
using monotonic_time = monotonic_clock::time_point;
using std::chrono::milliseconds;
using std::chrono::nanoseconds;

enum class probe_outcome {
  reply,        // answered within the timeout; `rtt` is set
  timeout,      // sent, and no answer within the timeout
  send_failed,  // the kernel refused to send (`error`: ENETUNREACH, ENETDOWN, ...): this host's network is in
                // doubt
  host_was_late,  // this process did not run in time to send or to judge; says nothing about the target
};
const char* to_string(probe_outcome outcome);

struct probe_sample {
  std::string target{};
  std::uint64_t sequence = 0;  // slot number; grows by one per interval, counts skipped slots too
  monotonic_time sent_at{};    // when it was sent; for skipped slots: when the first of them was due
  probe_outcome outcome = probe_outcome::timeout;
  nanoseconds rtt{0};
  int error = 0;  // errno of send_failed
  std::uint64_t skipped =
      0;  // host_was_late: how many slots were not sent (0: one was sent but judged too late)
};

struct probe_timing {
  milliseconds interval{2000};
  milliseconds timeout{1000};
};

struct prober_options {
  bool allow_raw = true;           // false: only the unprivileged kind of socket (net.ipv4.ping_group_range)
  nanoseconds stagger{7'000'000};  // a new target starts this much after the one before, modulo its interval
};

struct prober_statistics {
  nanoseconds worst_lag{0};  // how late the latest slot fired, since the last call of statistics()
  std::uint64_t sent = 0;
  std::uint64_t replies = 0;
  std::uint64_t ignored =
      0;  // packets that were not an answer to us: wrong source, nonce, too late, malformed
  std::uint64_t skipped_slots = 0;  // slots lost to this host's own lateness
  bool raw = true;                  // false: runs on the unprivileged kind of socket
};

// Thread rules: every function may be called from any thread. The callback runs on the prober's own thread,
// must return quickly (hand over and return) and may call every function here, but not destroy the prober.
// Samples that are already under way when remove(id) or pause(id) returns may still arrive.
class prober {
 public:
  using sample_function = std::function<void(const probe_sample&)>;

  // Opens the sockets in the calling thread's network namespace. Without CAP_NET_RAW it falls back to
  // unprivileged ICMP sockets; PERMISSION_DENIED, with both remedies in its text, when neither is allowed.
  static absl::StatusOr<std::unique_ptr<prober>> open(prober_options options, sample_function on_sample);

  virtual ~prober() = default;  // stops the thread; no callback after it returned

  // ALREADY_EXISTS for a known id; INVALID_ARGUMENT unless 0 < timeout <= interval.
  virtual absl::Status add(const std::string& target, const ip_address& address, probe_timing timing) = 0;
  // New address or timing; the slots start afresh, the sequence goes on. NOT_FOUND for an unknown id.
  virtual absl::Status update(const std::string& target, const ip_address& address, probe_timing timing) = 0;
  virtual void remove(const std::string& target) = 0;
  virtual void pause(
      const std::string& target) = 0;  // sends nothing, reports nothing; open probes are forgotten
  virtual void resume(const std::string& target) = 0;  // the next slot is sent at once

  virtual prober_statistics statistics() = 0;
};

}  // namespace understudy::network
