// The calls of Supervisor about the past of databases, and about deleted files.

#include <fmt/core.h>
#include <grpcpp/grpcpp.h>

#include "agent-failover/api/supervisor_service.hpp"
#include "agent-failover/api/unavailable.hpp"
#include "common/rpc/timestamp.hpp"

namespace understudy::api {

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
  const auto at = request->has_at() ? rpc::time_point_of(request->at()) : std::nullopt;
  if (!at) {
    return rpc::to_grpc(rpc::with_field(
        absl::InvalidArgumentError(request->has_at() ? "that is no time" : "say which moment"), "at",
        "a time by the primary's clock"));
  }
  restore_request wanted;
  wanted.server = request->server();
  wanted.catalog = request->catalog();
  wanted.at = *at;
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

grpc::Status supervisor_service::ListDeletedFiles(grpc::ServerContext*,
                                                  const v1::ListDeletedFilesRequest* request,
                                                  v1::ListDeletedFilesResponse* response) {
  auto listed = control_.deleted_files(*request);
  if (!listed.ok()) return rpc::to_grpc(listed.status());
  *response = *std::move(listed);
  return grpc::Status::OK;
}

grpc::Status supervisor_service::RestoreDeletedFile(grpc::ServerContext* context,
                                                    const v1::RestoreDeletedFileRequest* request,
                                                    v1::RestoreDeletedFileResponse* response) {
  auto effect = control_.restore_deleted_file(*request, caller(*context),
                                              [context] { return !context->IsCancelled(); });
  if (!effect.ok()) return rpc::to_grpc(effect.status());
  response->set_effect(*std::move(effect));
  return grpc::Status::OK;
}

}  // namespace understudy::api
