#pragma once

#include <memory>

#include "grpc/reflection/v1/reflection.grpc.pb.h"

namespace understudy::rpc {

// Debian's gRPC serves reflection as v1alpha only, and newer clients ask for v1. The messages are equal on
// the wire, so each call is passed on to v1alpha within the process.
class reflection_v1 final : public grpc::reflection::v1::ServerReflection::Service {
 public:
  // Before the first call arrives.
  void connect(std::shared_ptr<grpc::Channel> in_process) { channel_ = std::move(in_process); }

  grpc::Status ServerReflectionInfo(
      grpc::ServerContext* context,
      grpc::ServerReaderWriter<grpc::reflection::v1::ServerReflectionResponse,
                               grpc::reflection::v1::ServerReflectionRequest>* stream) override;

 private:
  std::shared_ptr<grpc::Channel> channel_;
};

}  // namespace understudy::rpc
