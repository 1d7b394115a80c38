#pragma once

#include <grpcpp/server.h>

#include <atomic>

#include "grpc/reflection/v1/reflection.grpc.pb.h"

namespace understudy::rpc {

// Debian's gRPC serves reflection as v1alpha only, and newer clients ask for v1. The messages are equal on
// the wire, so each call is passed on to v1alpha within the process.
class reflection_v1 final : public grpc::reflection::v1::ServerReflection::Service {
 public:
  // A server that is built serves already: calls that are earlier than this are asked to come again. The
  // channel is made for each call: a held one would keep the server from shutting down before its grace is
  // over.
  void connect(grpc::Server& server) { server_ = &server; }

  grpc::Status ServerReflectionInfo(
      grpc::ServerContext* context,
      grpc::ServerReaderWriter<grpc::reflection::v1::ServerReflectionResponse,
                               grpc::reflection::v1::ServerReflectionRequest>* stream) override;

 private:
  std::atomic<grpc::Server*> server_{nullptr};
};

}  // namespace understudy::rpc
