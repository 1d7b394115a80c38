#pragma once

// ARP over Ethernet for IPv4 (RFC 826, RFC 5227). Pure; any bytes are a valid input to the parser.

#include <array>
#include <cstdint>
#include <optional>
#include <span>

#include "agent-failover/network/ip_address.hpp"
#include "agent-failover/network/mac_address.hpp"

namespace understudy::network {

enum class arp_operation : std::uint16_t { request = 1, reply = 2 };

struct arp_packet {
  arp_operation operation = arp_operation::request;
  mac_address sender_mac;
  ip_address sender;
  mac_address target_mac;
  ip_address target;
};

inline constexpr std::size_t arp_size = 28;

std::array<std::uint8_t, arp_size> encode_arp(const arp_packet& packet);
// `payload` follows the Ethernet header; padding after it is ignored.
std::optional<arp_packet> parse_arp(std::span<const std::uint8_t> payload);

// "Is anybody using `address`?" without claiming it: the sender's address is zero.
arp_packet arp_probe(const mac_address& self, const ip_address& address);
// Gratuitous ARP in its two forms; devices differ in which one they heed.
arp_packet arp_announcement(arp_operation form, const mac_address& self, const ip_address& address);

}  // namespace understudy::network
