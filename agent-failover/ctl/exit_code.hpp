#pragma once

#include "absl/status/status.h"

namespace understudy::ctl {

// What understudyctl ends with. Scripts depend on the numbers; docs/cli.md has the same table.
enum class exit_code : int {
  ok = 0,            // done
  failed = 1,        // it did not work, or the operator did not confirm
  usage = 2,         // the command line or a value in it is wrong
  degraded = 3,      // `status`, `doctor`: it works, and something is not OK
  unreachable = 4,   // no connection to the failover host, or from there to the agent
  denied = 5,        // not logged in, or not allowed
  not_found = 6,     // no such server, operation, user, ...
  precondition = 7,  // not in this state: somebody else's change, slot busy, already there
  timeout = 8,       // not done within --timeout; what was begun goes on
  interrupted = 130  // SIGINT
};

// The one table from gRPC's codes (absl's are the same numbers) to exit codes.
exit_code exit_code_of(absl::StatusCode code);

}  // namespace understudy::ctl
