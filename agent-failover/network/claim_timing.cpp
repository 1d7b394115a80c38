#include "agent-failover/network/claim_timing.hpp"

#include <array>

namespace understudy::network {
namespace {

// Early ones against loss, later ones for switches and hosts that were themselves just rebooting.
constexpr std::array<milliseconds, 6> announcements{milliseconds{0},    milliseconds{200},
                                                    milliseconds{500},  milliseconds{1000},
                                                    milliseconds{2000}, milliseconds{5000}};
constexpr milliseconds refresh{60'000};

}  // namespace

acd_schedule::acd_schedule(const acd_timings& timings, claim_time now, uniform_function uniform)
    : timings_(timings),
      uniform_(std::move(uniform)),
      next_(now + uniform_(milliseconds{0}, timings.first_wait)) {}

acd_schedule::step acd_schedule::tick(claim_time now) {
  if (now < next_) return step::wait;
  if (sent_ >= timings_.probes) return step::free;
  ++sent_;
  next_ = now + (sent_ == timings_.probes ? timings_.last_wait
                                          : uniform_(timings_.spacing_min, timings_.spacing_max));
  return step::probe;
}

milliseconds announce_schedule::offset(std::size_t number) {
  if (number < announcements.size()) return announcements[number];
  return announcements.back() + refresh * static_cast<std::int64_t>(number - announcements.size() + 1);
}

bool announce_schedule::due(claim_time now) {
  if (now < next_wake()) return false;
  while (next_wake() <= now) ++next_;
  return true;
}

}  // namespace understudy::network
