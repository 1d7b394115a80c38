#include "agent-primary/application/process_identity.hpp"

#include <fmt/core.h>
#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <fstream>
#include <sstream>

namespace understudy::application {
namespace {

std::string boot_id() {
  std::ifstream file("/proc/sys/kernel/random/boot_id");
  std::string id;
  file >> id;
  return id;
}

}  // namespace

std::optional<process_identity> identify(pid_t pid) {
  std::ifstream file(fmt::format("/proc/{}/stat", pid));
  std::string line;
  if (!std::getline(file, line)) return std::nullopt;
  // The second field, the program's name, may hold anything, spaces and parentheses too.
  const std::size_t name_end = line.rfind(')');
  if (name_end == std::string::npos) return std::nullopt;
  std::istringstream fields(line.substr(name_end + 1));
  std::string field;
  for (int number = 3; number <= 22 && fields >> field; ++number) {
  }
  process_identity result{pid, 0, boot_id()};
  std::istringstream(field) >> result.start_time;
  return result;
}

std::string format_identity(const process_identity& identity) {
  return fmt::format("{} {} {}\n", identity.pid, identity.start_time, identity.boot_id);
}

std::optional<process_identity> parse_identity(std::string_view text) {
  std::istringstream fields{std::string(text)};
  process_identity result;
  if (!(fields >> result.pid >> result.start_time >> result.boot_id) || result.pid <= 1) return std::nullopt;
  return result;
}

os::unique_fd open_process(const process_identity& identity) {
  os::unique_fd descriptor(static_cast<int>(::syscall(SYS_pidfd_open, identity.pid, 0)));
  if (!descriptor) return {};
  // Compared after opening: from here on the descriptor means the process that was compared.
  if (identify(identity.pid) != identity) return {};
  pollfd ended{descriptor.value(), POLLIN, 0};
  if (::poll(&ended, 1, 0) != 0) return {};
  return descriptor;
}

}  // namespace understudy::application
