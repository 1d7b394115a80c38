#include "common/rpc/service_notice.hpp"

#include <fmt/core.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>

#include "common/os/unique_fd.hpp"

namespace understudy::rpc::service_notice {
namespace {

// The protocol of sd_notify(3), which is documented as stable: a datagram of lines to a Unix socket.
// libsystemd would add a megabyte of memory to each daemon, for the libraries of the journal that it loads.
void notify(const std::string& lines) {
  const char* name = std::getenv("NOTIFY_SOCKET");
  if (name == nullptr) return;
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::size_t length = std::strlen(name);
  if (length == 0 || length >= sizeof address.sun_path || (name[0] != '/' && name[0] != '@')) return;
  std::memcpy(address.sun_path, name, length);
  if (name[0] == '@') address.sun_path[0] = '\0';  // an abstract name
  const os::unique_fd socket(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!socket) return;
  const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + length);
  // Nobody to tell is no reason to fail.
  ::sendto(socket.value(), lines.data(), lines.size(), MSG_NOSIGNAL,
           reinterpret_cast<const sockaddr*>(&address), size);
}

std::uint64_t number_in(const char* variable) {
  const char* text = std::getenv(variable);
  std::uint64_t value = 0;
  if (text != nullptr) std::from_chars(text, text + std::strlen(text), value);
  return value;
}

}  // namespace

void ready() {
  notify("READY=1");
}

void status(std::string_view text) {
  std::string line = fmt::format("STATUS={}", text);
  std::replace(line.begin(), line.end(), '\n', ' ');
  notify(line);
}

void reloading() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  notify(fmt::format("RELOADING=1\nMONOTONIC_USEC={}", now.tv_sec * 1'000'000LL + now.tv_nsec / 1000));
}

void stopping() {
  notify("STOPPING=1");
}

void alive() {
  notify("WATCHDOG=1");
}

std::chrono::milliseconds alive_interval() {
  const std::uint64_t interval_us = number_in("WATCHDOG_USEC");
  const bool ours = std::getenv("WATCHDOG_PID") == nullptr ||
                    number_in("WATCHDOG_PID") == static_cast<std::uint64_t>(::getpid());
  if (interval_us == 0 || !ours) return std::chrono::milliseconds{0};
  return std::chrono::milliseconds{std::max<std::uint64_t>(1, interval_us / 2000)};
}

}  // namespace understudy::rpc::service_notice
