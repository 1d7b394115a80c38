#pragma once

// Programs started into a host's namespaces, and the plain ones (ip) that build the network.

#include <sys/types.h>

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "common/os/unique_fd.hpp"

namespace understudy::test {

[[noreturn]] void fail(const std::string& what);                   // throws std::runtime_error
[[noreturn]] void fail_errno(const std::string& what, int error);  // with the errno's text

// Handles of the namespaces of one running host.
struct namespace_handles {
  os::unique_fd network;
  os::unique_fd mount;
  os::unique_fd process;
  os::unique_fd name;
};

struct launch_options {
  std::vector<std::string> argv{};
  std::map<std::string, std::string> environment{};
  std::filesystem::path directory = "/";
  std::filesystem::path log{};                    // stdout and stderr are appended here
  const namespace_handles* namespaces = nullptr;  // null: stays in ours
};

// The new program's pid, as this process sees it; it is a child of this process and leads a session of its
// own. Throws when the program could not be started. May be used while other threads run.
pid_t launch(const launch_options& options);

int exit_status_of(int wait_status);  // 128 + signal when killed

// Runs `ip` with these lines as its batch; throws with its output when one fails.
void ip_batch(const std::vector<std::string>& arguments, const std::vector<std::string>& lines);
int run_quietly(const std::vector<std::string>& argv);  // exit status; output is discarded

}  // namespace understudy::test
