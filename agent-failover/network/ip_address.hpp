#pragma once

// IPv4 and IPv6 addresses as values: parsed once at the edge, compared and formatted everywhere.

#include <netinet/in.h>
#include <sys/socket.h>

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace understudy::network {

struct ip_address {
  int family = AF_INET;                  // AF_INET or AF_INET6
  std::array<std::uint8_t, 16> bytes{};  // network order; IPv4 uses the first four, the rest are zero
  std::uint32_t scope = 0;               // interface index of an IPv6 link-local address, else 0

  bool is_v6() const { return family == AF_INET6; }
  std::size_t size() const { return is_v6() ? 16 : 4; }
  bool is_link_local() const { return is_v6() && bytes[0] == 0xfe && (bytes[1] & 0xc0) == 0x80; }
  bool is_unspecified() const { return bytes == std::array<std::uint8_t, 16>{}; }
  friend bool operator==(const ip_address&, const ip_address&) = default;
  friend auto operator<=>(const ip_address&, const ip_address&) = default;
};

// "10.0.0.9", "fd00::9", "fe80::1%eth0" (the interface is looked up in the calling thread's network
// namespace).
absl::StatusOr<ip_address> parse_ip_address(std::string_view text);
std::string to_string(
    const ip_address& address);  // a scope is shown as its interface's name, else its number

ip_address ip_address_from(int family, const void* bytes);  // 4 or 16 bytes in network order
// Same address, whatever the scopes say.
bool same_host(const ip_address& a, const ip_address& b);

struct socket_address {
  sockaddr_storage storage{};
  socklen_t size = 0;
};
socket_address to_socket_address(const ip_address& address, std::uint16_t port = 0);
ip_address ip_address_of(const sockaddr_storage& storage);

// An address together with the length of its subnet's prefix.
struct ip_network {
  ip_address address;
  int prefix_length = 32;

  bool contains(const ip_address& other) const;  // other lies in the same subnet
  friend bool operator==(const ip_network&, const ip_network&) = default;
  friend auto operator<=>(const ip_network&, const ip_network&) = default;
};

// "10.0.0.9/24"; without a length: /32 or /128.
absl::StatusOr<ip_network> parse_ip_network(std::string_view text);
std::string to_string(const ip_network& network);

}  // namespace understudy::network
