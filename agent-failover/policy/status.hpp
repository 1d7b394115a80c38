#pragma once

// What an operator sees.

#include <cstdint>
#include <string>

#include "agent-failover/policy/state.hpp"

namespace understudy::policy {

enum class status : std::uint8_t {
  ok,           // monitored, alive and well
  suspended,    // not monitored; file sync stopped, database sync continues
  stopped,      // not monitored; both syncs stopped
  suspect,      // in doubt
  failure,      // failed: taken over, or about to be, or not
  replicating,  // a bulk copy in progress
};

// `application_doubt`: an application probe fails although pings are answered; its reason, else empty.
status status_of(const primary_state& state, bool application_doubt = false);

struct explanation {
  std::string what;          // what it is
  std::string why;           // why; empty only when OK
  std::string since;         // as passed in
  std::string next;          // what comes next
  std::string text() const;  // all of it, some lines
};
// `since`: already formatted for people.
explanation explain(const primary_state& state, const std::string& since);

const char* to_string(status value);  // "OK"

}  // namespace understudy::policy
