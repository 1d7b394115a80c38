#pragma once

// TableReplication over gRPC: the agent's side of a stream of named tables.

#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "common/channel/database_source.hpp"

namespace grpc {
class Status;
class ServerContext;
template <class W, class R>
class ServerReaderWriter;
}  // namespace grpc

namespace understudy::v1 {
class ReplicateTablesRequest;
class ReplicateTablesResponse;
}  // namespace understudy::v1

namespace understudy::tables {

// Works on the call's own thread until the stream ends. `find`: the source of a catalog, or why there is
// none.
grpc::Status serve(
    const std::function<absl::StatusOr<std::shared_ptr<channel::database_source>>(const std::string&)>& find,
    grpc::ServerContext& context,
    grpc::ServerReaderWriter<v1::ReplicateTablesResponse, v1::ReplicateTablesRequest>& call);

}  // namespace understudy::tables
