#pragma once

// The gate: the pure decision whether applications may run on this primary. One table (gate.cpp); no clock,
// no I/O. The lease_keeper actor carries out the actions in order and feeds back what came of them.
//
// What it guarantees, whatever the order of events and power cuts: applications are started only when the
// durable record says that the right is here; the record that the right is gone is durable before anything is
// stopped; an epoch never goes back; at boot nothing starts before the host has answered or `boot_wait` has
// passed in silence with no stand-in on record.

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "agent-primary/lease/right_record.hpp"

namespace understudy::lease {

using time_point = std::chrono::steady_clock::time_point;

enum class gate_phase {
  asking,   // after boot: waiting for the host's word; applications stay as they are found
  open,     // the right is here: applications may run
  closing,  // the right is gone or in doubt: applications are being stopped
  closed,   // applications are down, service addresses are gone
};
const char* to_string(gate_phase phase);

struct gate_state {
  gate_phase phase = gate_phase::asking;
  right_record right;
  bool record_damaged = false;          // the durable record could not be read: only an answer opens the gate
  bool applications_down = true;        // as last reported
  std::optional<time_point> lease_end;  // none: unlimited (compat)
  bool term_sent = false;               // the lease runs out: applications were told to stop
  bool kill_sent = false;               // and then killed
  bool start_wanted = false;  // start the applications as soon as the right is here and they are down
  friend bool operator==(const gate_state&, const gate_state&) = default;
};

// -- what happens

struct booted {          // the agent started
  right_record right;    // the durable record
  bool damaged = false;  // it could not be read; `right` is then fresh
  bool machine_booted =
      true;  // false: only the agent was restarted, and what runs was started with the right
  bool applications_up = false;         // found running
  bool host_known = false;              // there is an address to ask
  std::optional<time_point> lease_end;  // of the lease held before an agent's restart, if it is known
  time_point now;
};
struct granted {
  std::uint64_t epoch = 0;
  std::string owner_name;
  std::optional<std::chrono::milliseconds> lease;
  time_point now;
  time_point asked_at;  // when the agent asked: a lease counts from there
  std::vector<service_address> addresses;
  bool start_applications = false;
  std::string host_address;  // to be kept for the next boot
  std::string server;
  std::int64_t wall_unix = 0;
};
struct fenced {
  std::uint64_t epoch = 0;
  std::string owner_name;
  std::string reason;
  std::vector<service_address> addresses;
  std::string host_address;
  std::string server;
  std::int64_t wall_unix = 0;
};
struct host_met {  // a failover host is connected: where to ask at the next boot, and under which name
  std::string host_address;
  std::string server;
};
struct ask_timed_out {};       // boot_wait passed without an answer
struct applications_changed {  // reported by the keeper
  bool down = true;
};
struct start_asked {};  // an operator wants an application started
struct clock_ticked {
  time_point now;
};  // sent at next_deadline()

using gate_event = std::variant<booted, granted, fenced, host_met, ask_timed_out, applications_changed,
                                start_asked, clock_ticked>;

// -- what is to be done, in this order

struct store {
  right_record right;
};                   // durable before the next action
struct ask_host {};  // Gate.AskToRun until answered, for boot_wait
struct add_addresses {
  std::vector<service_address> addresses;
};
struct remove_addresses {
  std::vector<service_address> addresses;
};
struct start_applications {};
struct stop_applications {
  std::chrono::milliseconds grace{0};
  std::string why;
};  // 0: each one's own grace
struct kill_applications {
  std::string why;
};                    // at once
struct open_flag {};  // units ordered behind the gate may start
struct close_flag {};
struct refuse {
  std::string reason;
};  // the request cannot be carried out
struct note {
  std::string text;
};  // for the log

using gate_action = std::variant<store, ask_host, add_addresses, remove_addresses, start_applications,
                                 stop_applications, kill_applications, open_flag, close_flag, refuse, note>;

struct gate_step {
  gate_state state;
  std::vector<gate_action> actions;
};

gate_step step(const gate_state& state, const gate_event& event);

// When clock_ticked must be sent; none: never.
std::optional<time_point> next_deadline(const gate_state& state);

// From the lease's end back: SIGTERM to the applications, and the kill of what is left.
constexpr std::chrono::milliseconds term_before_end{5000};
constexpr std::chrono::milliseconds kill_before_end{1000};

}  // namespace understudy::lease
