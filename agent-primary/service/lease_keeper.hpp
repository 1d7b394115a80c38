#pragma once

#include <functional>
#include <mutex>
#include <string>
#include <vector>

#include "agent-primary/service/agent_actors.hpp"

namespace understudy::service {

// What the gate acts on. Replaced by a record of calls in tests.
struct lease_surroundings {
  // Durable on return.
  std::function<absl::Status(const lease::right_record&)> store;
  // Keeps the end of the lease over a restart of the agent, not over one of the machine.
  std::function<void(std::optional<lease::time_point>)> keep_lease_end;
  // Gate.AskToRun once; `answer` is called with a granted or fenced event, on any thread, or never.
  std::function<void(const lease::right_record&, std::function<void(lease::gate_event)> answer)> ask_host;
  std::function<absl::Status(const std::vector<lease::service_address>&)> add_addresses;
  std::function<absl::Status(const std::vector<lease::service_address>&)> remove_addresses;
  std::function<void()> start_applications;
  std::function<void(std::chrono::milliseconds grace, const std::string& why)> stop_applications;
  // Present while units ordered behind the gate may start.
  std::function<void(bool)> set_flag;
  // The right or the phase changed. On the keeper's thread.
  std::function<void(const lease_snapshot&)> publish;
  // The gate has decided for this boot: a later start of the agent is a restart.
  std::function<void()> boot_decided;
  // The clock that leases count on: it goes on while the machine sleeps.
  std::function<lease::time_point()> now;
  std::chrono::milliseconds boot_wait{60'000};
  std::chrono::milliseconds ask_interval{1'000};
};

struct lease_keeper_state {
  static inline const char* name = "lease_keeper";
  lease::gate_state gate;
  lease_surroundings around;
  std::uint64_t timer = 0;      // number of the deadline timer that counts
  std::uint64_t ask_timer = 0;  // number of the ask timer that counts; 0: not asking
  lease::time_point ask_until{};
};

// Begins with `boot`, before any other event.
lease_keeper_actor::behavior_type lease_keeper(lease_keeper_actor::stateful_pointer<lease_keeper_state> self,
                                               lease::booted boot, lease_surroundings around);

}  // namespace understudy::service
