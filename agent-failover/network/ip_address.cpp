#include "agent-failover/network/ip_address.hpp"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <net/if.h>

#include <algorithm>
#include <charconv>
#include <cstring>

namespace understudy::network {

absl::StatusOr<ip_address> parse_ip_address(std::string_view text) {
  const auto wrong = [&] {
    return absl::InvalidArgumentError(fmt::format("'{}' is not an IP address", text));
  };
  ip_address address;
  const std::string plain(text.substr(0, text.find('%')));
  if (text.find('\0') != std::string_view::npos) return wrong();
  address.family = plain.find(':') == std::string::npos ? AF_INET : AF_INET6;
  if (inet_pton(address.family, plain.c_str(), address.bytes.data()) != 1) return wrong();
  if (plain.size() == text.size()) return address;
  const std::string scope(text.substr(plain.size() + 1));
  if (!address.is_link_local() || scope.empty()) return wrong();
  address.scope = if_nametoindex(scope.c_str());
  if (address.scope == 0) {
    const auto [end, error] = std::from_chars(scope.data(), scope.data() + scope.size(), address.scope);
    if (error != std::errc{} || end != scope.data() + scope.size() || address.scope == 0)
      return absl::InvalidArgumentError(fmt::format("'{}': there is no network adapter {}", text, scope));
  }
  return address;
}

std::string to_string(const ip_address& address) {
  char text[INET6_ADDRSTRLEN] = "";
  inet_ntop(address.family, address.bytes.data(), text, sizeof text);
  if (address.scope == 0) return text;
  char name[IF_NAMESIZE] = "";
  if (if_indextoname(address.scope, name) != nullptr) return fmt::format("{}%{}", text, name);
  return fmt::format("{}%{}", text, address.scope);
}

ip_address ip_address_from(int family, const void* bytes) {
  ip_address address;
  address.family = family;
  std::memcpy(address.bytes.data(), bytes, address.size());
  return address;
}

bool same_host(const ip_address& a, const ip_address& b) {
  return a.family == b.family && a.bytes == b.bytes;
}

socket_address to_socket_address(const ip_address& address, std::uint16_t port) {
  socket_address result;
  if (address.is_v6()) {
    sockaddr_in6 in{};
    in.sin6_family = AF_INET6;
    in.sin6_port = htons(port);
    in.sin6_scope_id = address.scope;
    std::memcpy(&in.sin6_addr, address.bytes.data(), 16);
    std::memcpy(&result.storage, &in, sizeof in);
    result.size = sizeof in;
  } else {
    sockaddr_in in{};
    in.sin_family = AF_INET;
    in.sin_port = htons(port);
    std::memcpy(&in.sin_addr, address.bytes.data(), 4);
    std::memcpy(&result.storage, &in, sizeof in);
    result.size = sizeof in;
  }
  return result;
}

ip_address ip_address_of(const sockaddr_storage& storage) {
  if (storage.ss_family == AF_INET6) {
    sockaddr_in6 in{};
    std::memcpy(&in, &storage, sizeof in);
    ip_address address = ip_address_from(AF_INET6, &in.sin6_addr);
    address.scope = in.sin6_scope_id;
    return address;
  }
  sockaddr_in in{};
  std::memcpy(&in, &storage, sizeof in);
  return ip_address_from(AF_INET, &in.sin_addr);
}

bool ip_network::contains(const ip_address& other) const {
  if (other.family != address.family) return false;
  const int whole = prefix_length / 8;
  if (!std::equal(address.bytes.begin(), address.bytes.begin() + whole, other.bytes.begin())) return false;
  const int rest = prefix_length % 8;
  if (rest == 0) return true;
  const int mask = 0xff << (8 - rest) & 0xff;
  return (address.bytes[whole] & mask) == (other.bytes[whole] & mask);
}

absl::StatusOr<ip_network> parse_ip_network(std::string_view text) {
  const auto slash = text.find('/');
  auto address = parse_ip_address(text.substr(0, slash));
  if (!address.ok()) return address.status();
  const int most = static_cast<int>(address->size()) * 8;
  ip_network network{*address, most};
  if (slash == std::string_view::npos) return network;
  const std::string_view length = text.substr(slash + 1);
  const auto [end, error] =
      std::from_chars(length.data(), length.data() + length.size(), network.prefix_length);
  if (error != std::errc{} || end != length.data() + length.size() || network.prefix_length < 1 ||
      network.prefix_length > most)
    return absl::InvalidArgumentError(fmt::format("'{}': the prefix length must be 1 to {}", text, most));
  return network;
}

std::string to_string(const ip_network& network) {
  return fmt::format("{}/{}", to_string(network.address), network.prefix_length);
}

}  // namespace understudy::network
