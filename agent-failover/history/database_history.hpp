#pragma once

// The past of one copy: every transaction and heal applied to it within a window, so that any moment of the
// window can be had as a database, without a base copy and without touching the copy. Which pages a
// transaction wrote is read out of the copy's own -wal, behind the acknowledgement; docs/adr/0014 says why.
//
// The log is derived data. When it cannot keep up, cannot be written, or the copy was changed by somebody
// else, it begins anew and says so (`began_because`); it never holds up the copy.

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "agent-failover/history/change.hpp"
#include "agent-failover/history/news.hpp"
#include "agent-failover/history/view.hpp"

namespace understudy::history {

// Which moments can be had.
struct window {
  bool exists = false;      // false: no state yet; `began_because` says why
  std::uint64_t first = 0;  // states
  std::uint64_t last = 0;
  clock_time begins_at;       // the earliest moment, by the primary's clock
  clock_time last_change_at;  // of state `last`; any moment after it is this state
  std::string began_because;  // why it does not go further back: "the first copy", "a stand-in ran", ...
  bool interrupted = false;   // it does not go back as far as it should, for the reason given
  std::uint64_t bytes = 0;    // of the log
  std::uint64_t behind = 0;   // transactions durable in the copy and not yet in the log
};

// What an operator wants to know of one change before restoring.
struct moment {
  std::uint64_t state = 0;
  change last;  // the change that led to it; kind begin: the window's first state
  bool has_next = false;
  clock_time next_at;  // of the change after it
};

// Thread-safe.
class database_history {
 public:
  virtual ~database_history() = default;

  virtual window range() const = 0;
  // The last state whose changes were all committed at or before `time`, by the primary's clock. kOutOfRange
  // names the window when `time` is before it.
  virtual absl::StatusOr<moment> moment_at(clock_time time) = 0;
  // kOutOfRange for a state outside the window.
  virtual absl::StatusOr<std::unique_ptr<view>> view_of(std::uint64_t state) = 0;
  // From now on, and as long as it lives, `waiter` is told after states were added, or were replaced by a new
  // beginning.
  virtual void tell(std::weak_ptr<news> waiter) = 0;
};

}  // namespace understudy::history
