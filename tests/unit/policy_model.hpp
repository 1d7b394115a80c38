#pragma once

// A small world around step(): one primary with its agent and application, this host with its daemon and
// stand-in, a witness, the network between them, clients that write on either side. explore() visits every
// state that can be reached and checks invariants in each and on each edge.
//
// What it abstracts: time is a number of missed pings; a lease that cannot be renewed ends before a claim
// counts as ripe (that this holds in seconds is the detector's arithmetic, tested there); data is "has
// commits that the other side lacks"; a crashed daemon is restarted within the primary's boot_wait, a host
// without power need not be.

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "agent-failover/policy/table.hpp"

namespace understudy::policy::model {

struct settings {
  std::string name;
  options configured{};
  bool cuts = false;      // the network between host, primary and witness may be cut
  bool crashes = false;   // daemon crash, host power loss
  bool failures = false;  // any step may fail
  bool slots = false;     // another primary competes for the place
  bool pauses = false;    // suspend, resume, stop, start
  bool versions = false;  // application versions change
  bool by_hand = false;   // switchover, forced takeover, cancel
  bool no_copy = false;   // begins without a verified copy
  bool blindness = false;

  // To see that the checker sees: the actors break their side of the contract.
  bool lease_not_waited_for = false;  // claim_right answers at once
  bool state_not_persisted = false;   // a restart begins in Monitoring
  bool nothing_set_aside = false;     // set_aside puts the image in place and keeps nothing
};

// What may be found. to_string() has a sentence for each.
enum class finding : std::uint8_t {
  two_running,
  orphan_stand_in,
  data_destroyed,
  epoch_broken,
  slot_shared,
  copy_newest_wrong,
  taken_over_without_copy,
  automatic_when_forbidden,
  count_wrong,
  blocked_without_reason,
  blind_without_cause,
  switchover_lost_data,
  asked_dead_primary,
  operator_overruled,
  started_without_debt,
  returned_unasked,
  resumed_unasked,
  standing_in_without_stand_in,
  told_twice,
  resumed_on_old_copy,
  service_given_up,
};
const char* to_string(finding value);

struct report {
  std::size_t states = 0;
  std::size_t edges = 0;
  std::map<finding, std::vector<std::string>> found;  // with the shortest trace to it
  std::vector<std::string> stuck;  // trace to a state from which the good state is out of reach
  bool only(finding what) const { return found.empty() || (found.size() == 1 && found.contains(what)); }
};

// `disabled`: that guard always holds. `stop_at_first`: a finding other than two_running ends the search.
report explore(const settings& with, guard disabled = guard::none, bool stop_at_first = false);

}  // namespace understudy::policy::model
