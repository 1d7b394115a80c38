#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "agent-failover/tables/table_sink.hpp"
#include "common/channel/database_streams.hpp"

namespace understudy::tables {

// What the agent says did not have to travel on a stream.
struct saved_traffic {
  std::uint64_t transactions = 0;
  std::uint64_t bytes = 0;
};

// TableReplication.ReplicateTables: `tables` of the agent's database `catalog` into `sink`, which nobody else
// uses meanwhile. `on_saved`: every second, on the stream's thread. See channel::start_database_replication.
std::unique_ptr<channel::database_stream> start_table_replication(
    std::shared_ptr<grpc::ChannelInterface> channel, std::string catalog, std::vector<std::string> tables,
    std::shared_ptr<channel::database_sink> sink, channel::stream_callbacks callbacks,
    std::function<void(const saved_traffic&)> on_saved);

}  // namespace understudy::tables
