#include "agent-primary/files/restore_stream.hpp"

#include <utility>

#include "agent-primary/files/file_source_runner.hpp"
#include "common/files/grpc_call.hpp"
#include "understudy/v1/primary_agent.grpc.pb.h"

namespace understudy::files {

std::unique_ptr<files_stream> start_files_restore(std::shared_ptr<grpc::ChannelInterface> channel,
                                                  std::uint32_t index, std::uint64_t epoch,
                                                  std::shared_ptr<file_source> source,
                                                  files_callbacks callbacks) {
  using call = client_call<v1::RestoreFilesRequest, v1::RestoreFilesResponse, v1::FilesSourceMessage,
                           v1::FilesSinkMessage>;
  v1::RestoreFilesRequest first;
  first.set_index(index);
  first.set_epoch(epoch);
  std::shared_ptr<v1::PrimaryAgent::Stub> stub = v1::PrimaryAgent::NewStub(channel);
  // The agent speaks first, but must know of which tree.
  const auto open = [stub](call& c) { c.open(stub->RestoreFiles(&c.context()), true); };
  return std::make_unique<running_stream<call, file_source_runner, files_stream>>(
      std::make_unique<call>(std::move(first)), open, std::move(callbacks), std::move(source));
}

}  // namespace understudy::files
