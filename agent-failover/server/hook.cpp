#include "agent-failover/server/hook.hpp"

#include <fcntl.h>
#include <fmt/core.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>

#include "common/os/unique_fd.hpp"
#include "common/status/errno_status.hpp"

namespace understudy::server {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr std::size_t kept_output = 500;  // bytes, of the end of what it prints

void append(std::string& tail, const char* bytes, ssize_t count) {
  tail.append(bytes, static_cast<std::size_t>(count));
  if (tail.size() > kept_output) tail.erase(0, tail.size() - kept_output);
}

// Gathers what the command prints until it ends (true) or the deadline passes. Its end is the process's, not
// that of its output: a hook may close its output early, and may leave a service behind that keeps it open.
bool follow(int output, int process, steady_clock::time_point deadline, std::string& tail) {
  char buffer[4096];
  bool open = true;
  for (;;) {
    const auto left = std::chrono::ceil<milliseconds>(deadline - steady_clock::now());
    if (left.count() <= 0) return false;
    pollfd ready[] = {{.fd = process, .events = POLLIN, .revents = 0},
                      {.fd = open ? output : -1, .events = POLLIN, .revents = 0}};
    if (::poll(ready, 2, static_cast<int>(left.count())) < 0) continue;
    if (ready[1].revents != 0) {
      const ssize_t n = ::read(output, buffer, sizeof buffer);
      if (n > 0) append(tail, buffer, n);
      if (n == 0) open = false;
      continue;  // first all that it printed, then its end
    }
    if (ready[0].revents != 0) return true;
  }
}

}  // namespace

absl::Status run_hook(const std::vector<std::string>& command, const std::vector<std::string>& environment,
                      const char* name, milliseconds limit) {
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
  posix_spawnattr_setflags(&attributes,
                           POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  posix_spawnattr_setpgroup(&attributes, 0);
  // The daemon blocks and ignores signals; a script that inherited that could not be told to stop.
  sigset_t none;
  sigemptyset(&none);
  posix_spawnattr_setsigmask(&attributes, &none);
  sigset_t usual;
  sigfillset(&usual);
  posix_spawnattr_setsigdefault(&attributes, &usual);

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

  // Not reaped before the waitpid below, so the descriptor is of this very process.
  os::unique_fd process(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  if (process.value() < 0) {
    const int why = errno;
    ::kill(-pid, SIGKILL);
    while (::waitpid(pid, nullptr, 0) < 0 && errno == EINTR) {
    }
    return errno_status(why, fmt::format("follow the {}", name), command[0]);
  }
  std::string tail;
  const bool late = !follow(reader.value(), process.value(), steady_clock::now() + limit, tail);
  if (late) ::kill(-pid, SIGKILL);
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  if (late)
    return absl::DeadlineExceededError(fmt::format("the {} did not end within {} s{}{}", name,
                                                   std::chrono::duration<double>(limit).count(),
                                                   tail.empty() ? "" : ": ", tail));
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return absl::OkStatus();
  return absl::AbortedError(fmt::format(
      "the {} {} {}{}{}", name, WIFEXITED(status) ? "exited with" : "was killed by signal",
      WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status), tail.empty() ? "" : ": ", tail));
}

}  // namespace understudy::server
