#pragma once

namespace understudy::rpc {

// Parts of transactions and files are at most 1 MiB; a listing of files is the largest message. A peer that
// sends more is refused by gRPC with RESOURCE_EXHAUSTED before anything is allocated for it.
constexpr int largest_message_bytes = 8 << 20;

}  // namespace understudy::rpc
