#include "agent-failover/network/ndp_packet.hpp"

#include <netinet/in.h>

#include <algorithm>
#include <array>

#include "agent-failover/network/icmp_packet.hpp"
#include "agent-failover/network/wire.hpp"

namespace understudy::network {
namespace {

// IPv6 header: payload length 4, next header 6, hop limit 7, source 8, destination 24. ICMPv6 follows at 40:
// type 0, checksum 2, flags 4, target 8, options 24.
constexpr std::size_t ipv6_header = 40;
constexpr std::size_t body_size = 24;
constexpr std::uint8_t hop_limit = 255;  // proves that no router forwarded it
constexpr std::uint8_t option_source_link = 1;
constexpr std::uint8_t option_target_link = 2;
constexpr std::uint8_t flag_override = 0x20;

std::uint16_t icmpv6_checksum(std::span<const std::uint8_t> addresses,
                              std::span<const std::uint8_t> message) {
  std::array<std::uint8_t, 8> tail{};
  wire::put(tail, 0, static_cast<std::uint32_t>(message.size()));
  tail[7] = IPPROTO_ICMPV6;
  return internet_checksum({addresses, tail, message});
}

ip_address all_nodes() {
  ip_address group;
  group.family = AF_INET6;
  group.bytes = {0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1};
  return group;
}

}  // namespace

std::vector<std::uint8_t> encode_ndp(const ndp_packet& packet) {
  const std::size_t message_size = body_size + (packet.link ? 8 : 0);
  std::vector<std::uint8_t> bytes(ipv6_header + message_size);
  bytes[0] = 0x60;
  wire::put(bytes, 4, static_cast<std::uint16_t>(message_size));
  bytes[6] = IPPROTO_ICMPV6;
  bytes[7] = hop_limit;
  std::copy_n(packet.source.bytes.begin(), 16, bytes.begin() + 8);
  std::copy_n(packet.destination.bytes.begin(), 16, bytes.begin() + 24);
  const std::span<std::uint8_t> message(bytes.data() + ipv6_header, message_size);
  message[0] = static_cast<std::uint8_t>(packet.kind);
  const bool advertisement = packet.kind == ndp_kind::advertisement;
  if (advertisement && packet.override_entry) message[4] = flag_override;
  std::copy_n(packet.target.bytes.begin(), 16, message.begin() + 8);
  if (packet.link) {
    message[body_size] = advertisement ? option_target_link : option_source_link;
    message[body_size + 1] = 1;  // in units of 8 bytes
    std::copy_n(packet.link->bytes.begin(), 6, message.begin() + body_size + 2);
  }
  wire::put(message, 2, icmpv6_checksum(std::span<const std::uint8_t>(bytes).subspan(8, 32), message));
  return bytes;
}

std::optional<ndp_packet> parse_ndp(std::span<const std::uint8_t> packet) {
  if (packet.size() < ipv6_header + body_size || packet[0] >> 4 != 6) return std::nullopt;
  if (packet[6] != IPPROTO_ICMPV6 || packet[7] != hop_limit) return std::nullopt;
  const std::size_t length = wire::take<std::uint16_t>(packet, 4);
  if (length < body_size || ipv6_header + length > packet.size()) return std::nullopt;
  const auto message = packet.subspan(ipv6_header, length);
  ndp_packet found;
  if (message[0] == static_cast<std::uint8_t>(ndp_kind::solicitation))
    found.kind = ndp_kind::solicitation;
  else if (message[0] == static_cast<std::uint8_t>(ndp_kind::advertisement))
    found.kind = ndp_kind::advertisement;
  else
    return std::nullopt;
  if (message[1] != 0 || icmpv6_checksum(packet.subspan(8, 32), message) != 0) return std::nullopt;
  found.source = ip_address_from(AF_INET6, packet.data() + 8);
  found.destination = ip_address_from(AF_INET6, packet.data() + 24);
  found.target = ip_address_from(AF_INET6, message.data() + 8);
  if (found.target.bytes[0] == 0xff) return std::nullopt;  // multicast is nobody's address
  const bool advertisement = found.kind == ndp_kind::advertisement;
  found.override_entry = advertisement && (message[4] & flag_override) != 0;
  auto options = message.subspan(body_size);
  while (!options.empty()) {
    if (options.size() < 2) return std::nullopt;
    const std::size_t size = static_cast<std::size_t>(options[1]) * 8;
    if (size == 0 || size > options.size()) return std::nullopt;
    if (options[0] == (advertisement ? option_target_link : option_source_link) && size == 8)
      std::copy_n(options.begin() + 2, 6, found.link.emplace().bytes.begin());
    options = options.subspan(size);
  }
  return found;
}

ndp_packet duplicate_address_probe(const ip_address& address) {
  ndp_packet packet;
  packet.source.family = AF_INET6;
  packet.destination = solicited_node_multicast(address);
  packet.target = address;
  return packet;
}

ndp_packet unsolicited_advertisement(const mac_address& self, const ip_address& address) {
  return {ndp_kind::advertisement, address, all_nodes(), address, self, true};
}

ip_address solicited_node_multicast(const ip_address& address) {
  ip_address group;
  group.family = AF_INET6;
  group.bytes = {0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff};
  std::copy(address.bytes.begin() + 13, address.bytes.end(), group.bytes.begin() + 13);
  return group;
}

mac_address multicast_mac(const ip_address& group) {
  mac_address mac{{0x33, 0x33}};
  std::copy(group.bytes.begin() + 12, group.bytes.end(), mac.bytes.begin() + 2);
  return mac;
}

}  // namespace understudy::network
