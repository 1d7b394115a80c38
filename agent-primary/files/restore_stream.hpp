#pragma once

// PrimaryAgent.RestoreFiles, the client's side, on the failover host: the stand-in's tree to the primary.

#include <cstdint>
#include <memory>

#include "agent-primary/files/file_source.hpp"
#include "common/files/files_stream.hpp"

namespace grpc {
class ChannelInterface;
}

namespace understudy::files {

std::unique_ptr<files_stream> start_files_restore(std::shared_ptr<grpc::ChannelInterface> channel,
                                                  std::uint32_t index, std::uint64_t epoch,
                                                  std::shared_ptr<file_source> source,
                                                  files_callbacks callbacks);

}  // namespace understudy::files
