#include "agent-failover/network/icmp_packet.hpp"

#include <netinet/icmp6.h>
#include <netinet/ip_icmp.h>

#include "agent-failover/network/wire.hpp"

namespace understudy::network {
namespace {

// Offsets: type 0, code 1, checksum 2, identifier 4, sequence 6, then our payload.
constexpr std::size_t magic_at = 8;
constexpr std::size_t target_at = 16;
constexpr std::size_t nonce_at = 24;
constexpr std::size_t sequence_at = 32;
constexpr std::size_t token_end = 40;
constexpr std::uint64_t magic = 0x756e646572737479;  // "understy"

}  // namespace

std::uint16_t internet_checksum(std::initializer_list<std::span<const std::uint8_t>> parts) {
  std::uint64_t sum = 0;
  for (const auto part : parts) {
    for (std::size_t i = 0; i + 1 < part.size(); i += 2)
      sum += static_cast<std::uint64_t>(part[i] << 8 | part[i + 1]);
    if (part.size() % 2 != 0) sum += static_cast<std::uint64_t>(part.back()) << 8;
  }
  while (sum >> 16 != 0) sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<std::uint16_t>(~sum);
}

std::array<std::uint8_t, echo_size> encode_echo_request(bool v6, std::uint16_t identifier,
                                                        const echo_token& token) {
  std::array<std::uint8_t, echo_size> packet{};
  packet[0] = static_cast<std::uint8_t>(v6 ? int{ICMP6_ECHO_REQUEST} : int{ICMP_ECHO});
  wire::put(packet, 4, identifier);
  wire::put(packet, 6, static_cast<std::uint16_t>(token.sequence));
  wire::put(packet, magic_at, magic);
  wire::put(packet, target_at, token.target);
  wire::put(packet, nonce_at, token.nonce);
  wire::put(packet, sequence_at, token.sequence);
  if (!v6) wire::put(packet, 2, internet_checksum({packet}));
  return packet;
}

std::optional<echo_reply> parse_echo_reply(bool v6, std::span<const std::uint8_t> packet) {
  if (packet.size() < token_end) return std::nullopt;
  if (packet[0] != (v6 ? int{ICMP6_ECHO_REPLY} : int{ICMP_ECHOREPLY}) || packet[1] != 0) return std::nullopt;
  if (wire::take<std::uint64_t>(packet, magic_at) != magic) return std::nullopt;
  // The kernel checks ICMPv6 sums on raw sockets; for ICMP it is left to the reader.
  if (!v6 && internet_checksum({packet}) != 0) return std::nullopt;
  echo_reply reply;
  reply.identifier = wire::take<std::uint16_t>(packet, 4);
  reply.sequence = wire::take<std::uint16_t>(packet, 6);
  reply.token.target = wire::take<std::uint64_t>(packet, target_at);
  reply.token.nonce = wire::take<std::uint64_t>(packet, nonce_at);
  reply.token.sequence = wire::take<std::uint64_t>(packet, sequence_at);
  if (reply.sequence != static_cast<std::uint16_t>(reply.token.sequence)) return std::nullopt;
  return reply;
}

std::span<const std::uint8_t> ipv4_payload(std::span<const std::uint8_t> packet) {
  if (packet.size() < 20 || packet[0] >> 4 != 4) return {};
  const std::size_t header = static_cast<std::size_t>(packet[0] & 0x0f) * 4;
  if (header < 20 || header > packet.size() || packet[9] != IPPROTO_ICMP) return {};
  return packet.subspan(header);
}

}  // namespace understudy::network
