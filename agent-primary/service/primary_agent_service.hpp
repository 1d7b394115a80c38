#pragma once

#include "understudy/v1/primary_agent.grpc.pb.h"

namespace understudy::service {

struct agent_parts;

// PrimaryAgent over gRPC: checks what comes from the wire, hands over, translates what comes back.
class primary_agent_service final : public v1::PrimaryAgent::Service {
 public:
  explicit primary_agent_service(agent_parts& parts) : parts_(parts) {}

  grpc::Status Describe(grpc::ServerContext*, const v1::DescribeRequest*, v1::DescribeResponse*) override;
  grpc::Status TestDatabase(grpc::ServerContext*, const v1::TestDatabaseRequest*,
                            v1::TestDatabaseResponse*) override;
  grpc::Status HoldLease(grpc::ServerContext*,
                         grpc::ServerReaderWriter<v1::HoldLeaseResponse, v1::HoldLeaseRequest>*) override;
  grpc::Status ControlApplication(grpc::ServerContext*, const v1::ControlApplicationRequest*,
                                  v1::ControlApplicationResponse*) override;
  grpc::Status ReplicateDatabase(
      grpc::ServerContext*,
      grpc::ServerReaderWriter<v1::ReplicateDatabaseResponse, v1::ReplicateDatabaseRequest>*) override;
  grpc::Status RestoreDatabase(
      grpc::ServerContext*,
      grpc::ServerReaderWriter<v1::RestoreDatabaseResponse, v1::RestoreDatabaseRequest>*) override;
  grpc::Status ReplicateFiles(
      grpc::ServerContext*,
      grpc::ServerReaderWriter<v1::ReplicateFilesResponse, v1::ReplicateFilesRequest>*) override;
  grpc::Status RestoreFiles(
      grpc::ServerContext*,
      grpc::ServerReaderWriter<v1::RestoreFilesResponse, v1::RestoreFilesRequest>*) override;
  grpc::Status WitnessRecordClaim(grpc::ServerContext*, const v1::WitnessRecordClaimRequest*,
                                  v1::WitnessRecordClaimResponse*) override;
  grpc::Status WitnessWithdrawClaim(grpc::ServerContext*, const v1::WitnessWithdrawClaimRequest*,
                                    v1::WitnessWithdrawClaimResponse*) override;
  grpc::Status WitnessRenewLease(grpc::ServerContext*, const v1::WitnessRenewLeaseRequest*,
                                 v1::WitnessRenewLeaseResponse*) override;
  grpc::Status WitnessRead(grpc::ServerContext*, const v1::WitnessReadRequest*,
                           v1::WitnessReadResponse*) override;

 private:
  agent_parts& parts_;
};

}  // namespace understudy::service
