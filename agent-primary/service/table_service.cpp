#include "agent-primary/service/table_service.hpp"

#include <grpcpp/grpcpp.h>

#include "agent-primary/service/agent_parts.hpp"
#include "agent-primary/tables/table_replication.hpp"

namespace understudy::service {

grpc::Status table_service::ReplicateTables(
    grpc::ServerContext* context,
    grpc::ServerReaderWriter<v1::ReplicateTablesResponse, v1::ReplicateTablesRequest>* call) {
  if (!parts_.serving()) return {grpc::StatusCode::UNAVAILABLE, "the agent is starting or stopping"};
  const auto find =
      [this](const std::string& catalog) -> absl::StatusOr<std::shared_ptr<channel::database_source>> {
    for (const database_config& database : parts_.databases()) {
      if (database.catalog == catalog) return parts_.capture->add(database.path);
    }
    return absl::NotFoundError("there is no database with this catalog here");
  };
  return tables::serve(find, *context, *call);
}

}  // namespace understudy::service
