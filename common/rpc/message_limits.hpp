#pragma once

#include <cstdint>

namespace understudy::rpc {

// Parts of transactions and files are at most 1 MiB; a listing of files is the largest message. A peer that
// sends more is refused by gRPC with RESOURCE_EXHAUSTED before anything is allocated for it.
constexpr int largest_message_bytes = 8 << 20;

// An epoch grows by one with each change of hands. One beyond this comes from a fault, and following it would
// leave no room for the next.
constexpr std::uint64_t highest_epoch = std::uint64_t{1} << 53;

}  // namespace understudy::rpc
