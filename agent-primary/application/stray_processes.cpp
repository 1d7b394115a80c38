#include "agent-primary/application/stray_processes.hpp"

#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string_view>
#include <vector>

#include "common/os/unique_fd.hpp"

namespace understudy::application {
namespace {

namespace fs = std::filesystem;
using std::chrono::steady_clock;

constexpr int most_rounds = 8;  // one that forks while it is being killed is found in the next round

bool has_variable(pid_t pid, std::string_view variable) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/environ", std::ios::binary);
  for (std::string one; std::getline(file, one, '\0');)
    if (one == variable) return true;
  return false;
}

std::vector<pid_t> all_processes() {
  std::vector<pid_t> found;
  std::error_code error;
  for (fs::directory_iterator entry("/proc", error), end; !error && entry != end; entry.increment(error)) {
    const std::string name = entry->path().filename();
    pid_t pid = 0;
    const auto [rest, problem] = std::from_chars(name.data(), name.data() + name.size(), pid);
    if (problem == std::errc{} && rest == name.data() + name.size()) found.push_back(pid);
  }
  return found;
}

}  // namespace

int kill_stray_processes(const std::string& variable, std::chrono::milliseconds patience) {
  const auto deadline = steady_clock::now() + patience;
  int killed = 0;
  for (int round = 0; round < most_rounds; ++round) {
    std::vector<os::unique_fd> dying;
    for (const pid_t pid : all_processes()) {
      if (pid == ::getpid() || !has_variable(pid, variable)) continue;
      os::unique_fd process(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
      // The id may have changed hands between the look and the handle.
      if (!process || !has_variable(pid, variable)) continue;
      if (::syscall(SYS_pidfd_send_signal, process.value(), SIGKILL, nullptr, 0) == 0)
        dying.push_back(std::move(process));
    }
    if (dying.empty()) break;
    killed += static_cast<int>(dying.size());
    for (const os::unique_fd& process : dying) {
      pollfd waiting{process.value(), POLLIN, 0};
      const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - steady_clock::now()).count();
      (void)::poll(&waiting, 1, static_cast<int>(std::max<std::int64_t>(left, 0)));
    }
    if (steady_clock::now() >= deadline) break;
  }
  return killed;
}

}  // namespace understudy::application
