#include "common/os/byte_lock.hpp"

#include <fcntl.h>
#include <fmt/core.h>

#include <cerrno>
#include <fstream>
#include <thread>

#include "common/status/errno_status.hpp"
#include "common/status/status_macros.hpp"

namespace understudy::os {

absl::StatusOr<bool> try_lock(int descriptor, lock_mode mode, std::int64_t first, std::int64_t count) {
  struct ::flock lock {};
  lock.l_type = mode == lock_mode::none ? F_UNLCK : mode == lock_mode::shared ? F_RDLCK : F_WRLCK;
  lock.l_whence = SEEK_SET;
  lock.l_start = first;
  lock.l_len = count;
  for (;;) {
    if (::fcntl(descriptor, F_OFD_SETLK, &lock) == 0) return true;
    if (errno == EAGAIN || errno == EACCES) return false;
    if (errno != EINTR) return errno_status(errno, "lock", fmt::format("bytes {}+{}", first, count));
  }
}

absl::Status lock_within(int descriptor, lock_mode mode, std::int64_t first, std::int64_t count,
                         std::chrono::milliseconds patience, std::string_view what) {
  const auto deadline = std::chrono::steady_clock::now() + patience;
  std::chrono::microseconds pause{20};
  for (;;) {
    UNDERSTUDY_ASSIGN_OR_RETURN(const bool locked, try_lock(descriptor, mode, first, count));
    if (locked) return absl::OkStatus();
    if (std::chrono::steady_clock::now() >= deadline) {
      const std::string holder = lock_holder(descriptor, first, count);
      return absl::UnavailableError(
          fmt::format("{}: locked by {}", what, holder.empty() ? "another process" : holder));
    }
    std::this_thread::sleep_for(pause);
    pause = std::min(2 * pause, std::chrono::microseconds(2000));
  }
}

std::string lock_holder(int descriptor, std::int64_t first, std::int64_t count) {
  struct ::flock lock {};
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  lock.l_start = first;
  lock.l_len = count;
  if (::fcntl(descriptor, F_OFD_GETLK, &lock) != 0 || lock.l_type == F_UNLCK) return {};
  if (lock.l_pid <= 0) return "another process";
  std::ifstream comm(fmt::format("/proc/{}/comm", lock.l_pid));
  std::string name;
  std::getline(comm, name);
  return name.empty() ? fmt::format("pid {}", lock.l_pid) : fmt::format("{} (pid {})", name, lock.l_pid);
}

}  // namespace understudy::os
