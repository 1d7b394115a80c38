#pragma once

// Reading and writing big-endian numbers in packets.

#include <cstddef>
#include <cstdint>
#include <span>

namespace understudy::network::wire {

template <class Number>
void put(std::span<std::uint8_t> packet, std::size_t offset, Number value) {
  for (std::size_t i = 0; i < sizeof value; ++i)
    packet[offset + i] = static_cast<std::uint8_t>(value >> (8 * (sizeof value - 1 - i)));
}

// Requires offset + sizeof(Number) <= packet.size().
template <class Number>
Number take(std::span<const std::uint8_t> packet, std::size_t offset) {
  Number value = 0;
  for (std::size_t i = 0; i < sizeof value; ++i) value = static_cast<Number>(value << 8 | packet[offset + i]);
  return value;
}

}  // namespace understudy::network::wire
