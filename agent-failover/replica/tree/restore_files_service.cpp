#include "agent-failover/replica/tree/restore_files_service.hpp"

#include <utility>

#include "agent-failover/replica/tree/file_sink_runner.hpp"
#include "common/files/grpc_call.hpp"
#include "understudy/v1/primary_agent.grpc.pb.h"

namespace understudy::files {

grpc::Status serve(const restore_files_service& service, grpc::ServerContext& context,
                   grpc::ServerReaderWriter<v1::RestoreFilesResponse, v1::RestoreFilesRequest>& call) {
  v1::RestoreFilesRequest first;
  if (!call.Read(&first)) return grpc::Status::OK;
  const std::uint32_t index = first.index();
  auto sink = service.begin(index, first.epoch());
  if (!sink.ok()) return channel::to_grpc(sink.status());
  server_call<v1::RestoreFilesResponse, v1::RestoreFilesRequest, v1::FilesSinkMessage, v1::FilesSourceMessage>
      stream(context, call, std::move(first));
  std::function<void(const files_progress&)> listener;
  if (service.on_progress) {
    listener = [&service, index](const files_progress& progress) { service.on_progress(index, progress); };
  }
  return channel::to_grpc(file_sink_runner(**sink, stream, std::move(listener)).run());
}

}  // namespace understudy::files
