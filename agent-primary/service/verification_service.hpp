#pragma once

#include "understudy/v1/verification.grpc.pb.h"

namespace understudy::service {

struct agent_parts;

// DatabaseVerification over gRPC: waits, on the call's own thread, while the capture reads.
class verification_service final : public v1::DatabaseVerification::Service {
 public:
  explicit verification_service(agent_parts& parts) : parts_(parts) {}

  grpc::Status VerifyDatabase(grpc::ServerContext*, const v1::VerifyDatabaseRequest*,
                              v1::VerifyDatabaseResponse*) override;

 private:
  agent_parts& parts_;
};

}  // namespace understudy::service
