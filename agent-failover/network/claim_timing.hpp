#pragma once

// The two clocks of an address claim, without sockets or a clock of their own.

#include <chrono>
#include <functional>

#include "agent-failover/network/address_claim.hpp"

namespace understudy::network {

using claim_time = std::chrono::steady_clock::time_point;

// When to ask whether an address is free, and when silence is the answer (RFC 5227 section 2.1.1).
class acd_schedule {
 public:
  // `uniform(least, most)` draws a random duration.
  using uniform_function = std::function<milliseconds(milliseconds least, milliseconds most)>;
  acd_schedule(const acd_timings& timings, claim_time now, uniform_function uniform);

  enum class step {
    wait,   // until next_wake()
    probe,  // send one probe now
    free,   // nobody answered
  };
  step tick(claim_time now);
  claim_time next_wake() const { return next_; }

 private:
  acd_timings timings_;
  uniform_function uniform_;
  int sent_ = 0;
  claim_time next_;
};

// When to announce: 0, 0.2, 0.5, 1, 2, 5 s after the start, then every 60 s. Moments that were slept through
// are not made up for, but the next one follows at once.
class announce_schedule {
 public:
  explicit announce_schedule(claim_time start) : start_(start) {}
  bool due(claim_time now);  // true: announce now
  claim_time next_wake() const { return start_ + offset(next_); }

 private:
  static milliseconds offset(std::size_t number);
  claim_time start_;
  std::size_t next_ = 0;
};

}  // namespace understudy::network
