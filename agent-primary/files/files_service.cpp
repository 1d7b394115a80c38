#include "agent-primary/files/files_service.hpp"

#include "agent-primary/files/file_source_runner.hpp"
#include "common/files/grpc_call.hpp"
#include "understudy/v1/primary_agent.grpc.pb.h"

namespace understudy::files {

grpc::Status serve(const replicate_files_service& service, grpc::ServerContext& context,
                   grpc::ServerReaderWriter<v1::ReplicateFilesResponse, v1::ReplicateFilesRequest>& call) {
  v1::ReplicateFilesRequest first;
  if (!call.Read(&first)) return grpc::Status::OK;
  const std::uint32_t index = first.index();
  auto source = service.find(index);
  if (!source.ok()) return channel::to_grpc(source.status());
  server_call<v1::ReplicateFilesResponse, v1::ReplicateFilesRequest, v1::FilesSourceMessage,
              v1::FilesSinkMessage>
      stream(context, call, std::move(first));
  std::function<void(const files_progress&)> listener;
  if (service.on_progress) {
    listener = [&service, index](const files_progress& progress) { service.on_progress(index, progress); };
  }
  return channel::to_grpc(file_source_runner(*std::move(source), stream, std::move(listener)).run());
}

}  // namespace understudy::files
