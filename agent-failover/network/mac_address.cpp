#include "agent-failover/network/mac_address.hpp"

#include <fmt/format.h>

#include <charconv>

namespace understudy::network {

std::optional<mac_address> parse_mac_address(std::string_view text) {
  if (text.size() != 17) return std::nullopt;
  mac_address mac;
  for (std::size_t i = 0; i < 6; ++i) {
    const char* digits = text.data() + i * 3;
    if (i < 5 && digits[2] != ':') return std::nullopt;
    const auto [end, error] = std::from_chars(digits, digits + 2, mac.bytes[i], 16);
    if (error != std::errc{} || end != digits + 2) return std::nullopt;
  }
  return mac;
}

std::string to_string(const mac_address& mac) {
  return fmt::format("{:02x}", fmt::join(mac.bytes, ":"));
}

}  // namespace understudy::network
