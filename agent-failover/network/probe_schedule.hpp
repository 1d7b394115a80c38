#pragma once

// When one target is asked, and how each of its slots ends: the prober's logic without sockets, threads or a
// clock. Slot k is due at start + k * interval. A slot that cannot be served within `lateness_limit` of being
// due is skipped and counted as this host's own lateness; likewise a probe whose verdict comes that late.

#include <chrono>
#include <cstdint>
#include <deque>
#include <optional>
#include <vector>

#include "agent-failover/network/prober.hpp"

namespace understudy::network {

// Half an interval, at most 500 ms: a later probe would no longer say anything about its own slot.
nanoseconds lateness_limit(const probe_timing& timing);

class probe_schedule {
 public:
  // `first` is the number of the first slot.
  probe_schedule(monotonic_time start, probe_timing timing, std::uint64_t first = 0);

  // The next moment at which due() or expire() has something to say.
  monotonic_time next_wake() const;

  struct due_slots {
    std::optional<std::uint64_t> send;  // this slot is to be sent now
    nanoseconds lag{0};                 // how late it is
    std::uint64_t skipped = 0;          // slots before it that are lost
    std::uint64_t first_skipped = 0;
    monotonic_time first_skipped_due;
  };
  due_slots due(monotonic_time now);

  // `slot` went out between `at` and `handed_over`; it is open until replied to or expired. The round trip
  // counts from the first, the timeout from the second, so that being preempted in between costs the target
  // nothing.
  void sent(std::uint64_t slot, std::uint64_t nonce, monotonic_time at, monotonic_time handed_over);

  // A reply that reached this host at `arrival`. The time it was sent at, if the probe is open, the nonce is
  // its own and it came in time; the probe is then closed.
  std::optional<monotonic_time> accept(std::uint64_t slot, std::uint64_t nonce, monotonic_time arrival);

  struct verdict {
    std::uint64_t slot = 0;
    monotonic_time sent_at;
    bool late = false;  // judged too late to blame the target
  };
  // Closes and returns the probes whose time is up. Replies that have arrived must be accepted first.
  std::vector<verdict> expire(monotonic_time now);

  std::uint64_t next_slot() const { return next_; }

 private:
  struct open_probe {
    std::uint64_t slot;
    std::uint64_t nonce;
    monotonic_time sent_at;
    monotonic_time deadline;
  };
  monotonic_time due_time(std::uint64_t slot) const;

  monotonic_time start_;
  probe_timing timing_;
  std::uint64_t first_;
  std::uint64_t next_;
  std::deque<open_probe>
      open_;  // at most one while timeout <= interval, two for the moment between the two calls
};

}  // namespace understudy::network
