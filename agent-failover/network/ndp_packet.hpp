#pragma once

// Neighbour solicitations and advertisements with their IPv6 header (RFC 4861, RFC 4862): IPv6's ARP. Pure;
// any bytes are a valid input to the parser.

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "agent-failover/network/ip_address.hpp"
#include "agent-failover/network/mac_address.hpp"

namespace understudy::network {

enum class ndp_kind : std::uint8_t { solicitation = 135, advertisement = 136 };

struct ndp_packet {
  ndp_kind kind = ndp_kind::solicitation;
  ip_address source;  // unspecified: a duplicate address probe
  ip_address destination;
  ip_address target;                // the address in question
  std::optional<mac_address> link;  // source (solicitation) or target (advertisement) link-layer address
  bool override_entry = false;      // advertisement: replace what the cache says
};

std::vector<std::uint8_t> encode_ndp(const ndp_packet& packet);
// `packet` starts at the IPv6 header. Nothing unless it is valid as RFC 4861 section 7.1 asks (hop limit 255,
// checksum, options of whole length).
std::optional<ndp_packet> parse_ndp(std::span<const std::uint8_t> packet);

ndp_packet duplicate_address_probe(const ip_address& address);
ndp_packet unsolicited_advertisement(const mac_address& self, const ip_address& address);

ip_address solicited_node_multicast(const ip_address& address);  // ff02::1:ffXX:XXXX
mac_address multicast_mac(const ip_address& group);              // 33:33:XX:XX:XX:XX

}  // namespace understudy::network
