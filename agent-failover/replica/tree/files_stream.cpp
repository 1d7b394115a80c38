#include "agent-failover/replica/tree/files_stream.hpp"

#include <utility>

#include "agent-failover/replica/tree/file_sink_runner.hpp"
#include "common/files/grpc_call.hpp"
#include "understudy/v1/primary_agent.grpc.pb.h"

namespace understudy::files {

std::unique_ptr<files_stream> start_files_replication(std::shared_ptr<grpc::ChannelInterface> channel,
                                                      std::uint32_t index,
                                                      std::shared_ptr<file_tree_sink> sink,
                                                      files_callbacks callbacks) {
  using call = client_call<v1::ReplicateFilesRequest, v1::ReplicateFilesResponse, v1::FilesSinkMessage,
                           v1::FilesSourceMessage>;
  v1::ReplicateFilesRequest first;
  first.set_index(index);
  std::shared_ptr<v1::PrimaryAgent::Stub> stub = v1::PrimaryAgent::NewStub(channel);
  // `sink` lives as long as the call that uses it.
  const auto open = [stub, sink](call& c) { c.open(stub->ReplicateFiles(&c.context()), false); };
  return std::make_unique<running_stream<call, file_sink_runner, files_stream>>(
      std::make_unique<call>(std::move(first)), open, std::move(callbacks), *sink);
}

}  // namespace understudy::files
