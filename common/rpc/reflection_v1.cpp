#include "common/rpc/reflection_v1.hpp"

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>

namespace understudy::rpc {

grpc::Status reflection_v1::ServerReflectionInfo(
    grpc::ServerContext* context,
    grpc::ServerReaderWriter<grpc::reflection::v1::ServerReflectionResponse,
                             grpc::reflection::v1::ServerReflectionRequest>* stream) {
  using request_type = grpc::reflection::v1::ServerReflectionRequest;
  using response_type = grpc::reflection::v1::ServerReflectionResponse;
  grpc::Server* const server = server_;
  if (server == nullptr) return {grpc::StatusCode::UNAVAILABLE, "starting; try again"};
  const std::shared_ptr<grpc::Channel> channel = server->InProcessChannel({});
  const grpc::internal::RpcMethod method("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
                                         grpc::internal::RpcMethod::BIDI_STREAMING, channel);
  const auto forward_context = grpc::ClientContext::FromServerContext(*context);
  const std::unique_ptr<grpc::ClientReaderWriter<request_type, response_type>> forward(
      grpc::internal::ClientReaderWriterFactory<request_type, response_type>::Create(channel.get(), method,
                                                                                     forward_context.get()));
  request_type request;
  response_type response;
  while (stream->Read(&request) && forward->Write(request) && forward->Read(&response) &&
         stream->Write(response)) {
  }
  forward->WritesDone();
  return forward->Finish();
}

}  // namespace understudy::rpc
