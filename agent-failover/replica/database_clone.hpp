#pragma once

#include <string>

#include "absl/status/status.h"
#include "common/os/file_system.hpp"

namespace understudy::replica {

// Sets a database aside: the committed image of `name` (database file and -wal) as one plain file `to_name`,
// synced, its directory too; at disk speed, sharing blocks where the filesystem can. kAlreadyExists when
// `to_name` exists.
//
// Works beside a running application or a database_copy: checkpoints and the reuse of the -wal wait
// meanwhile, in WAL mode writers do not; in rollback mode a writer finds the database locked while the clone
// runs. kUnavailable when a checkpoint or a writer is in the way for more than five seconds. No other program
// may have an unfinished rollback journal on it (kFailedPrecondition). kCancelled when `progress` said so.
absl::Status clone_database(os::directory& from, const std::string& name, os::directory& to,
                            const std::string& to_name, const os::copy_progress& progress = {});

}  // namespace understudy::replica
