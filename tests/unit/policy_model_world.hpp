#pragma once

// One state of the model's world and its packing into 64 bits.

#include <cstdint>
#include <type_traits>

#include "agent-failover/policy/table.hpp"

namespace understudy::policy::model {

enum class daemon : std::uint8_t { up, crashed, off };      // crashed: a stand-in survives; off: it does not
enum class place_of : std::uint8_t { free, ours, other };   // the arbiter's truth
enum class request : std::uint8_t { none, asked, queued };  // ours, at the arbiter

constexpr std::uint64_t base_epoch = 10;  // epochs are kept relative: only their changes matter

struct world {
  primary_state host;  // persisted before every action, therefore the same after a crash
  daemon process = daemon::up;
  bool link = true;             // host and primary reach each other
  bool host_witness = true;     // host and witness
  bool primary_witness = true;  // primary and witness
  bool power = true;            // of the primary
  bool primary_runs = true;     // its application
  bool stand_in_runs = false;
  bool leased = true;           // the agent holds a lease that has not ended
  bool claim_recorded = false;  // at the witness
  bool agent_owns = true;       // the agent believes that the primary has the right
  bool primary_ahead = false;   // the primary has commits that the copy lacks
  bool copy_ahead = false;      // the copy has commits that the primary lacks
  bool image_whole = false;     // the image beside the primary's data equals the copy
  bool ran = false;             // a stand-in ran since the primary last had the right
  place_of place = place_of::free;
  request asked = request::none;
  bool grant_under_way = false;
  bool step_running = false;
  bool retry_due = false;
  bool settle_due = false;
};

// Every field that varies, with its width in bits.
template <class World, class Visitor>
void visit(World& w, Visitor&& f) {
  auto& h = w.host;
  f(h.at, 4), f(h.doing, 5), f(h.replication.has_copy, 1), f(h.missed, 2), f(h.after_reboot, 1);
  f(h.host_blind, 1), f(h.claimed, 1), f(h.versions_differ, 1), f(h.flapping, 1), f(h.owner, 1);
  f(h.why_acting, 2), f(h.blocked, 4), f(h.slot_held, 1), f(h.resume_asked, 1), f(h.copy_newest, 1);
  f(h.serving, 1), f(h.start_owed, 1), f(h.choice, 2), f(h.queue_position, 1);
  f(w.process, 2), f(w.link, 1), f(w.power, 1), f(w.primary_runs, 1), f(w.stand_in_runs, 1), f(w.leased, 1);
  f(w.claim_recorded, 1), f(w.agent_owns, 1), f(w.primary_ahead, 1), f(w.copy_ahead, 1), f(w.image_whole, 1);
  f(w.ran, 1), f(w.place, 2), f(w.asked, 2), f(w.grant_under_way, 1), f(w.step_running, 1), f(w.retry_due, 1);
  f(w.settle_due, 1), f(w.host_witness, 1), f(w.primary_witness, 1);
}

inline std::uint64_t pack(const world& w) {
  std::uint64_t key = 0;
  unsigned at = 0;
  visit(w, [&](const auto& field, unsigned bits) {
    key |= static_cast<std::uint64_t>(field) << at;
    at += bits;
  });
  return key;
}

inline world unpack(std::uint64_t key, const options& configured) {
  world w;
  w.host.configured = configured;
  w.host.epoch = base_epoch;
  w.host.replication.at = copy_phase::streaming;
  visit(w, [&](auto& field, unsigned bits) {
    field = static_cast<std::remove_reference_t<decltype(field)>>(key & ((std::uint64_t{1} << bits) - 1));
    key >>= bits;
  });
  return w;
}

inline bool in_service_here(const world& w) {
  switch (w.host.at) {
    case phase::taking_over:
    case phase::standing_in:
    case phase::conflict:
    case phase::standing_down:
      return w.host.owner == right_owner::failover_host;
    case phase::failing_back:
      return w.host.doing == step_id::reverse_heal || w.host.doing == step_id::stop_stand_in;
    default:
      return false;
  }
}

inline bool copies_from_primary(const primary_state& host) {
  return host.at <= phase::suspended || host.at == phase::claiming || host.at == phase::blocked;
}

}  // namespace understudy::policy::model
