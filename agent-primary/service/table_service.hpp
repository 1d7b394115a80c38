#pragma once

#include "understudy/v1/tables.grpc.pb.h"

namespace understudy::service {

struct agent_parts;

// TableReplication over gRPC.
class table_service final : public v1::TableReplication::Service {
 public:
  explicit table_service(agent_parts& parts) : parts_(parts) {}

  grpc::Status ReplicateTables(
      grpc::ServerContext*,
      grpc::ServerReaderWriter<v1::ReplicateTablesResponse, v1::ReplicateTablesRequest>*) override;

 private:
  agent_parts& parts_;
};

}  // namespace understudy::service
