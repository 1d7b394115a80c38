#pragma once

#include <chrono>
#include <functional>

#include "agent-failover/ctl/session.hpp"
#include "understudy/v1/supervisor.pb.h"

namespace understudy::ctl {

// What `-w` and `-f` do with what comes. Each returns a status; one that is not OK ends the following.
struct watch_handlers {
  std::function<absl::Status(const v1::WatchResponse&)> update;
  // Every second and after every burst of updates: a screen is drawn here. `connected` false: what is shown
  // is old.
  std::function<absl::Status(bool connected)> tick;
};

// Follows Watch until SIGINT (CANCELLED) or --timeout (DEADLINE_EXCEEDED). A connection lost on the way is
// made again, from the last event and log line seen, and said on stderr; the first one must succeed. Hearing
// nothing for three heartbeats counts as lost.
absl::Status watch(session& s, v1::WatchRequest request, const watch_handlers& handlers);

}  // namespace understudy::ctl
