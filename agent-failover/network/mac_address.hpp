#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace understudy::network {

// A 48-bit Ethernet address.
struct mac_address {
  std::array<std::uint8_t, 6> bytes{};

  bool is_zero() const { return bytes == std::array<std::uint8_t, 6>{}; }
  friend bool operator==(const mac_address&, const mac_address&) = default;
  friend auto operator<=>(const mac_address&, const mac_address&) = default;
};

inline constexpr mac_address broadcast_mac{{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}};

std::optional<mac_address> parse_mac_address(std::string_view text);  // "02:00:5e:10:00:01"
std::string to_string(const mac_address& mac);

}  // namespace understudy::network
