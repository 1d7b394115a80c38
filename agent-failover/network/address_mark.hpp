#pragma once

#include <cstdint>

namespace understudy::network {

// IFA_PROTO of the addresses that are ours. Unassigned elsewhere; the kernel itself uses 1 to 3.
inline constexpr std::uint8_t address_mark = 0x55;

}  // namespace understudy::network
