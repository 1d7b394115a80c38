#pragma once

// PrimaryAgent.ReplicateFiles, the client's side, on the failover host.

#include <cstdint>
#include <memory>

#include "agent-failover/replica/tree/file_tree_sink.hpp"
#include "common/files/files_stream.hpp"

namespace grpc {
class ChannelInterface;
}

namespace understudy::files {

// The agent's tree `index` into `sink`, which nobody else uses meanwhile.
std::unique_ptr<files_stream> start_files_replication(std::shared_ptr<grpc::ChannelInterface> channel,
                                                      std::uint32_t index,
                                                      std::shared_ptr<file_tree_sink> sink,
                                                      files_callbacks callbacks);

}  // namespace understudy::files
