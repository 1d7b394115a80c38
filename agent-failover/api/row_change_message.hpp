#pragma once

#include <string>

#include "agent-failover/history/change.hpp"
#include "common/rows/change.hpp"
#include "understudy/v1/change_feed.pb.h"

namespace understudy::api {

// A longer value is not sent, nor is what follows in a row after so much: two images of a row stay below the
// 4 MiB that gRPC takes for a message if nothing else is said.
constexpr std::uint64_t most_row_bytes = 1 << 20;

v1::RowChangeKind kind_of(rows::change_kind kind);

// Everything but server, catalog and cursor.
v1::WatchRowsResponse message_of(const history::change& transaction, const rows::change& what);

}  // namespace understudy::api
