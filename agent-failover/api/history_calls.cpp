// The calls of Supervisor about the past of databases.

#include <fmt/core.h>
#include <google/protobuf/util/time_util.h>
#include <grpcpp/grpcpp.h>

#include "agent-failover/api/supervisor_service.hpp"
#include "agent-failover/api/unavailable.hpp"

namespace understudy::api {

using google::protobuf::util::TimeUtil;

grpc::Status supervisor_service::ListHistory(grpc::ServerContext*, const v1::ListHistoryRequest* request,
                                             v1::ListHistoryResponse* response) {
  auto databases = control_.history(request->server());
  if (!databases.ok()) return rpc::to_grpc(databases.status());
  for (auto& database : *databases) *response->add_databases() = std::move(database);
  return grpc::Status::OK;
}

grpc::Status supervisor_service::RestoreDatabaseImage(grpc::ServerContext* context,
                                                      const v1::RestoreDatabaseImageRequest* request,
                                                      v1::RestoreDatabaseImageResponse* response) {
  auto spec = find(request->server());
  if (!spec.ok()) return rpc::to_grpc(spec.status());
  if (!request->has_at()) {
    return rpc::to_grpc(rpc::with_field(absl::InvalidArgumentError("say which moment"), "at",
                                        "a time by the primary's clock"));
  }
  constexpr std::int64_t latest = 9'000'000'000;  // seconds: nanoseconds still fit into 64 bits
  if (request->at().seconds() < 0 || request->at().seconds() > latest || request->at().nanos() < 0 ||
      request->at().nanos() > 999'999'999) {
    return rpc::to_grpc(rpc::with_field(absl::InvalidArgumentError("that is no time"), "at",
                                        "a time by the primary's clock"));
  }
  restore_request wanted;
  wanted.server = request->server();
  wanted.catalog = request->catalog();
  wanted.at =
      std::chrono::system_clock::time_point(std::chrono::duration_cast<std::chrono::system_clock::duration>(
          std::chrono::nanoseconds(TimeUtil::TimestampToNanoseconds(request->at()))));
  wanted.to = request->to();
  wanted.actor = caller(*context);
  wanted.dry_run = request->dry_run();
  command_result result = control_.restore(wanted);
  if (!result.status.ok()) return rpc::to_grpc(result.status);
  response->set_effect(result.effect);
  if (auto operation = board_.operation(result.operation))
    *response->mutable_operation() = *std::move(operation);
  return grpc::Status::OK;
}

}  // namespace understudy::api
