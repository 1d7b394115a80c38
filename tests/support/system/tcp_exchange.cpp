#include "tests/support/system/tcp_exchange.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>

#include "common/os/unique_fd.hpp"

namespace understudy::test {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

bool wait_for(int fd, short what, steady_clock::time_point deadline) {
  for (;;) {
    const auto left = std::chrono::ceil<milliseconds>(deadline - steady_clock::now()).count();
    if (left <= 0) return false;
    pollfd waiting{fd, what, 0};
    const int ready = ::poll(&waiting, 1, static_cast<int>(left));
    if (ready > 0) return true;
    if (ready < 0 && errno != EINTR) return false;
  }
}

os::unique_fd connect_to(const std::string& address, int port, milliseconds patience) {
  sockaddr_storage where{};
  socklen_t size = 0;
  if (auto* v4 = reinterpret_cast<sockaddr_in*>(&where);
      ::inet_pton(AF_INET, address.c_str(), &v4->sin_addr) == 1) {
    v4->sin_family = AF_INET;
    v4->sin_port = htons(static_cast<std::uint16_t>(port));
    size = sizeof(sockaddr_in);
  } else if (auto* v6 = reinterpret_cast<sockaddr_in6*>(&where);
             ::inet_pton(AF_INET6, address.c_str(), &v6->sin6_addr) == 1) {
    v6->sin6_family = AF_INET6;
    v6->sin6_port = htons(static_cast<std::uint16_t>(port));
    size = sizeof(sockaddr_in6);
  } else {
    return {};
  }
  os::unique_fd fd(::socket(where.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return {};
  if (::connect(fd.value(), reinterpret_cast<const sockaddr*>(&where), size) != 0) {
    if (errno != EINPROGRESS || !wait_for(fd.value(), POLLOUT, steady_clock::now() + patience)) return {};
    int error = 0;
    socklen_t length = sizeof error;
    if (::getsockopt(fd.value(), SOL_SOCKET, SO_ERROR, &error, &length) != 0 || error != 0) return {};
  }
  return fd;
}

}  // namespace

std::optional<std::string> tcp_exchange(const std::string& address, int port, std::string_view request,
                                        const std::function<bool(std::string_view)>& complete,
                                        tcp_patience patience) {
  const os::unique_fd fd = connect_to(address, port, patience.connect);
  if (!fd) return std::nullopt;
  const auto deadline = steady_clock::now() + patience.answer;
  while (!request.empty()) {
    if (!wait_for(fd.value(), POLLOUT, deadline)) return std::nullopt;
    const ssize_t sent = ::send(fd.value(), request.data(), request.size(), MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN && errno != EINTR) return std::nullopt;
    if (sent > 0) request.remove_prefix(static_cast<std::size_t>(sent));
  }
  std::string answer;
  for (;;) {
    if (!wait_for(fd.value(), POLLIN, deadline)) return std::nullopt;
    char part[4096];
    const ssize_t got = ::recv(fd.value(), part, sizeof part, 0);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) continue;
    if (got < 0) return std::nullopt;
    answer.append(part, static_cast<std::size_t>(got));
    if (complete(answer)) return answer;
    if (got == 0) return std::nullopt;
  }
}

}  // namespace understudy::test
