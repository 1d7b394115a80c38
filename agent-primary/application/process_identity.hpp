#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "common/os/unique_fd.hpp"

namespace understudy::application {

// A process, told apart from any later one with the same id: by its start time, within one boot of the
// machine.
struct process_identity {
  pid_t pid = 0;
  std::uint64_t start_time = 0;  // clock ticks since boot, field 22 of /proc/PID/stat
  std::string boot_id;
  friend bool operator==(const process_identity&, const process_identity&) = default;
};

// Nothing when there is no such process (a zombie counts as one).
std::optional<process_identity> identify(pid_t pid);

std::string format_identity(const process_identity& identity);
std::optional<process_identity> parse_identity(std::string_view text);

// A pidfd of exactly this process, or an empty one when it is gone.
os::unique_fd open_process(const process_identity& identity);

}  // namespace understudy::application
