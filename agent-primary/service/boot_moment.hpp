#pragma once

#include <optional>
#include <string>

#include "agent-primary/lease/gate.hpp"

namespace understudy::service {

// The kernel's boot id: it changes when the machine was reset.
std::string boot_id();

// The clock of leases: CLOCK_BOOTTIME, which goes on while the machine sleeps and which nobody sets.
lease::time_point boot_time_now();

// What is remembered in the state directory about this boot, so that a restart of the agent can be told from
// a reset of the machine. Not synced: a power cut forgets it, as it should.
class boot_memory {
 public:
  explicit boot_memory(std::string state_dir) : state_dir_(std::move(state_dir)) {}

  bool decided_in_this_boot() const;
  void note_decided();
  std::optional<lease::time_point> lease_end() const;
  void keep_lease_end(std::optional<lease::time_point> end);

 private:
  std::string state_dir_;
};

}  // namespace understudy::service
