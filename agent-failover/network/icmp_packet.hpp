#pragma once

// ICMP and ICMPv6 echo messages (RFC 792, RFC 4443) as this program sends and reads them. Pure; any bytes are
// a valid input to the parsers.

#include <array>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <span>

namespace understudy::network {

// What a probe carries, so that a reply can be matched to it and to nothing else.
struct echo_token {
  std::uint64_t target = 0;    // random, one per target
  std::uint64_t nonce = 0;     // random, one per probe
  std::uint64_t sequence = 0;  // the slot
  friend bool operator==(const echo_token&, const echo_token&) = default;
};

inline constexpr std::size_t echo_size = 64;  // header and payload: what ping sends, known to pass everywhere

struct echo_reply {
  std::uint16_t identifier = 0;
  std::uint16_t sequence = 0;
  echo_token token;
};

// An echo request. The ICMPv6 checksum is the kernel's to fill in (it covers the addresses).
std::array<std::uint8_t, echo_size> encode_echo_request(bool v6, std::uint16_t identifier,
                                                        const echo_token& token);

// `packet` starts at the ICMP header. Nothing unless it is a whole echo reply of ours.
std::optional<echo_reply> parse_echo_reply(bool v6, std::span<const std::uint8_t> packet);

// The ICMP message inside an IPv4 packet as a raw socket delivers it; empty when there is none.
std::span<const std::uint8_t> ipv4_payload(std::span<const std::uint8_t> packet);

// RFC 1071 over all parts as if they were one; every part but the last has an even length.
std::uint16_t internet_checksum(std::initializer_list<std::span<const std::uint8_t>> parts);

}  // namespace understudy::network
