#pragma once

// Open-file-description locks (fcntl F_OFD_SETLK). They belong to the descriptor's open file description, not
// to the process, conflict with other programs' POSIX locks, and go when the description is closed. Locking a
// range again in another mode converts it at once.

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace understudy::os {

enum class lock_mode { none, shared, exclusive };

// False: somebody else holds a conflicting lock.
absl::StatusOr<bool> try_lock(int descriptor, lock_mode mode, std::int64_t first, std::int64_t count = 1);

// Tries until `patience` has passed, then kUnavailable, naming `what` and the holder.
absl::Status lock_within(int descriptor, lock_mode mode, std::int64_t first, std::int64_t count,
                         std::chrono::milliseconds patience, std::string_view what);

// Who holds a lock that conflicts with an exclusive one: "sqlite3 (pid 4711)", "another process" when its
// lock has no owner to name, empty when nobody does.
std::string lock_holder(int descriptor, std::int64_t first, std::int64_t count = 1);

}  // namespace understudy::os
