#include "agent-failover/server/hook.hpp"

#include <fcntl.h>
#include <fmt/core.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>

#include "common/os/unique_fd.hpp"
#include "common/status/errno_status.hpp"

namespace understudy::server {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr std::chrono::seconds longest_hook{60};  // a hook that hangs must not keep a service down
constexpr std::size_t kept_output = 500;          // bytes, of the end of what it prints

// Reads what the command prints until it closes its output or the deadline passes.
std::string read_tail(int fd, steady_clock::time_point deadline) {
  std::string tail;
  for (;;) {
    const auto left = std::chrono::duration_cast<milliseconds>(deadline - steady_clock::now());
    pollfd ready{.fd = fd, .events = POLLIN, .revents = 0};
    if (left.count() <= 0 || ::poll(&ready, 1, static_cast<int>(left.count())) == 0) return tail;
    char buffer[4096];
    const ssize_t n = ::read(fd, buffer, sizeof buffer);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return tail;
    tail.append(buffer, static_cast<std::size_t>(n));
    if (tail.size() > kept_output) tail.erase(0, tail.size() - kept_output);
  }
}

}  // namespace

absl::Status run_hook(const std::vector<std::string>& command, const std::vector<std::string>& environment,
                      const char* name) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return errno_status(errno, "pipe for", name);
  os::unique_fd reader(ends[0]);
  os::unique_fd writer(ends[1]);

  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, writer.value(), STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(&actions, writer.value(), STDERR_FILENO);
  posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP);
  posix_spawnattr_setpgroup(&attributes, 0);

  std::vector<char*> arguments;
  for (const auto& word : command) arguments.push_back(const_cast<char*>(word.c_str()));
  arguments.push_back(nullptr);
  std::vector<char*> variables;
  for (char** v = environ; *v != nullptr; ++v) variables.push_back(*v);
  for (const auto& variable : environment) variables.push_back(const_cast<char*>(variable.c_str()));
  variables.push_back(nullptr);

  pid_t pid = 0;
  const int error =
      ::posix_spawnp(&pid, arguments[0], &actions, &attributes, arguments.data(), variables.data());
  posix_spawn_file_actions_destroy(&actions);
  posix_spawnattr_destroy(&attributes);
  if (error != 0) return errno_status(error, fmt::format("start the {}", name), command[0]);
  writer.reset();

  const auto deadline = steady_clock::now() + longest_hook;
  const std::string tail = read_tail(reader.value(), deadline);
  const bool late = steady_clock::now() >= deadline;
  if (late) ::kill(-pid, SIGKILL);
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  if (late)
    return absl::DeadlineExceededError(
        fmt::format("the {} did not end within {} s", name, longest_hook.count()));
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return absl::OkStatus();
  return absl::AbortedError(fmt::format(
      "the {} {} {}{}{}", name, WIFEXITED(status) ? "exited with" : "was killed by signal",
      WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status), tail.empty() ? "" : ": ", tail));
}

}  // namespace understudy::server
