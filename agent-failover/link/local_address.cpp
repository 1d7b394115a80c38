#include "agent-failover/link/local_address.hpp"

#include <sys/socket.h>

#include <cerrno>

#include "agent-failover/network/ip_address.hpp"
#include "common/os/unique_fd.hpp"
#include "common/status/errno_status.hpp"
#include "common/status/status_macros.hpp"

namespace understudy::link {
namespace {

constexpr std::uint16_t discard_port = 9;  // any port: connect() only looks up the route

}  // namespace

absl::StatusOr<std::string> local_address_towards(const std::string& peer) {
  UNDERSTUDY_ASSIGN_OR_RETURN(const network::ip_address address, network::parse_ip_address(peer));
  const os::unique_fd socket(::socket(address.family, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!socket) return errno_status(errno, "socket towards", peer);
  const network::socket_address target = network::to_socket_address(address, discard_port);
  if (::connect(socket.value(), reinterpret_cast<const sockaddr*>(&target.storage), target.size) != 0) {
    return errno_status(errno, "route towards", peer);
  }
  sockaddr_storage own{};
  socklen_t size = sizeof own;
  if (::getsockname(socket.value(), reinterpret_cast<sockaddr*>(&own), &size) != 0) {
    return errno_status(errno, "own address towards", peer);
  }
  return network::to_string(network::ip_address_of(own));
}

}  // namespace understudy::link
