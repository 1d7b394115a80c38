#include "agent-failover/network/probe_schedule.hpp"

#include <algorithm>

namespace understudy::network {

nanoseconds lateness_limit(const probe_timing& timing) {
  return std::min<nanoseconds>(timing.interval / 2, milliseconds{500});
}

probe_schedule::probe_schedule(monotonic_time start, probe_timing timing, std::uint64_t first)
    : start_(start), timing_(timing), first_(first), next_(first) {}

monotonic_time probe_schedule::due_time(std::uint64_t slot) const {
  return start_ + timing_.interval * static_cast<std::int64_t>(slot - first_);
}

monotonic_time probe_schedule::next_wake() const {
  const monotonic_time slot = due_time(next_);
  return open_.empty() ? slot : std::min(slot, open_.front().deadline);
}

probe_schedule::due_slots probe_schedule::due(monotonic_time now) {
  due_slots result;
  if (now < due_time(next_)) return result;
  const auto newest = first_ + static_cast<std::uint64_t>((now - start_) / timing_.interval);
  result.lag = now - due_time(next_);
  result.first_skipped = next_;
  result.first_skipped_due = due_time(next_);
  const bool newest_lost = now - due_time(newest) > lateness_limit(timing_);
  result.skipped = newest - next_ + (newest_lost ? 1 : 0);
  if (!newest_lost) result.send = newest;
  next_ = newest + 1;
  return result;
}

void probe_schedule::sent(std::uint64_t slot, std::uint64_t nonce, monotonic_time at,
                          monotonic_time handed_over) {
  open_.push_back({slot, nonce, at, handed_over + timing_.timeout});
}

std::optional<monotonic_time> probe_schedule::accept(std::uint64_t slot, std::uint64_t nonce,
                                                     monotonic_time arrival) {
  const auto found = std::find_if(open_.begin(), open_.end(), [&](const open_probe& probe) {
    return probe.slot == slot && probe.nonce == nonce;
  });
  if (found == open_.end() || arrival > found->deadline) return std::nullopt;
  const monotonic_time sent_at = found->sent_at;
  open_.erase(found);
  return sent_at;
}

std::vector<probe_schedule::verdict> probe_schedule::expire(monotonic_time now) {
  std::vector<verdict> verdicts;
  while (!open_.empty()) {
    const monotonic_time deadline = open_.front().deadline;
    if (now < deadline) break;
    verdicts.push_back({open_.front().slot, open_.front().sent_at, now - deadline > lateness_limit(timing_)});
    open_.pop_front();
  }
  return verdicts;
}

}  // namespace understudy::network
