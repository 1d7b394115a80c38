#include "agent-failover/network/arp_packet.hpp"

#include <algorithm>

#include "agent-failover/network/wire.hpp"

namespace understudy::network {
namespace {

constexpr std::uint16_t ethernet = 1;
constexpr std::uint16_t ipv4 = 0x0800;

}  // namespace

std::array<std::uint8_t, arp_size> encode_arp(const arp_packet& packet) {
  std::array<std::uint8_t, arp_size> bytes{};
  wire::put(bytes, 0, ethernet);
  wire::put(bytes, 2, ipv4);
  bytes[4] = 6;
  bytes[5] = 4;
  wire::put(bytes, 6, static_cast<std::uint16_t>(packet.operation));
  std::copy_n(packet.sender_mac.bytes.begin(), 6, bytes.begin() + 8);
  std::copy_n(packet.sender.bytes.begin(), 4, bytes.begin() + 14);
  std::copy_n(packet.target_mac.bytes.begin(), 6, bytes.begin() + 18);
  std::copy_n(packet.target.bytes.begin(), 4, bytes.begin() + 24);
  return bytes;
}

std::optional<arp_packet> parse_arp(std::span<const std::uint8_t> payload) {
  if (payload.size() < arp_size) return std::nullopt;
  if (wire::take<std::uint16_t>(payload, 0) != ethernet || wire::take<std::uint16_t>(payload, 2) != ipv4 ||
      payload[4] != 6 || payload[5] != 4)
    return std::nullopt;
  const auto operation = wire::take<std::uint16_t>(payload, 6);
  if (operation != 1 && operation != 2) return std::nullopt;
  arp_packet packet;
  packet.operation = static_cast<arp_operation>(operation);
  std::copy_n(payload.begin() + 8, 6, packet.sender_mac.bytes.begin());
  packet.sender = ip_address_from(AF_INET, payload.data() + 14);
  std::copy_n(payload.begin() + 18, 6, packet.target_mac.bytes.begin());
  packet.target = ip_address_from(AF_INET, payload.data() + 24);
  return packet;
}

arp_packet arp_probe(const mac_address& self, const ip_address& address) {
  return {arp_operation::request, self, ip_address{}, mac_address{}, address};
}

arp_packet arp_announcement(arp_operation form, const mac_address& self, const ip_address& address) {
  return {form, self, address, form == arp_operation::reply ? self : mac_address{}, address};
}

}  // namespace understudy::network
