#pragma once

// Starting a process of somebody else's, set up apart from the daemon: own session, clean descriptors,
// signals and environment, other user, private mounts.

#include <sys/types.h>

#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "agent-primary/application/application_definition.hpp"
#include "common/os/unique_fd.hpp"

namespace understudy::application {

struct process_setup {
  std::vector<std::string> command;      // absolute path first, or looked up in PATH
  std::vector<std::string> environment;  // NAME=VALUE, over PATH, HOME, USER, LOGNAME, SHELL, LANG
  std::string working_directory;         // empty: "/"
  std::string user;                      // empty: the daemon's
  std::vector<bind_mount> binds;         // need CAP_SYS_ADMIN
  int output = -1;                       // descriptor for stdout and stderr; -1: /dev/null
};

struct child_process {
  pid_t pid = 0;
  os::unique_fd descriptor;  // pidfd
};

// Starts it and waits until it executes the command, or says what prevented that. `before_start` is called
// with the process id when the process exists but has not begun; if it fails, or this process dies meanwhile,
// nothing runs.
absl::StatusOr<child_process> start_process(const process_setup& setup,
                                            const std::function<absl::Status(pid_t)>& before_start);

}  // namespace understudy::application
