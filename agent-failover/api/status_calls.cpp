// The calls of Supervisor that only look.

#include <fmt/core.h>
#include <google/protobuf/util/time_util.h>
#include <grpcpp/grpcpp.h>

#include <algorithm>

#include "agent-failover/api/supervisor_service.hpp"
#include "agent-failover/api/unavailable.hpp"
#include "common/rpc/timestamp.hpp"

namespace understudy::api {
namespace {

using google::protobuf::util::TimeUtil;
using std::chrono::steady_clock;

constexpr std::chrono::seconds heartbeat_interval{15};       // idle streams die at proxies after 60 s
constexpr std::chrono::milliseconds cancellation_poll{250};  // how soon a follower that left is noticed
constexpr std::chrono::hours longest_wait{24};
constexpr std::uint32_t default_limit = 100;
constexpr std::uint32_t largest_limit = 10000;

std::uint32_t bounded(std::uint32_t limit) {
  return limit == 0 ? default_limit : std::min(limit, largest_limit);
}

}  // namespace

grpc::Status supervisor_service::GetStatus(grpc::ServerContext*, const v1::GetStatusRequest* request,
                                           v1::GetStatusResponse* response) {
  for (auto& state : board_.servers()) {
    if (request->server().empty() || state.name() == request->server())
      *response->add_servers() = std::move(state);
  }
  if (!request->server().empty() && response->servers().empty()) {
    return rpc::to_grpc(no_such_server(request->server()));
  }
  *response->mutable_host() = board_.host();
  return grpc::Status::OK;
}

grpc::Status supervisor_service::Explain(grpc::ServerContext*, const v1::ExplainRequest* request,
                                         v1::ExplainResponse* response) {
  auto state = board_.server(request->server());
  if (!state) return rpc::to_grpc(no_such_server(request->server()));
  if (absl::Status explained = control_.explain(request->server(), *response); !explained.ok()) {
    return rpc::to_grpc(explained);
  }
  *response->mutable_state() = *std::move(state);
  return grpc::Status::OK;
}

grpc::Status supervisor_service::ListEvents(grpc::ServerContext*, const v1::ListEventsRequest* request,
                                            v1::ListEventsResponse* response) {
  auto events = control_.events(*request, bounded(request->limit()));
  if (!events.ok()) return rpc::to_grpc(events.status());
  for (auto& event : *events) *response->add_events() = std::move(event);
  return grpc::Status::OK;
}

grpc::Status supervisor_service::ListLog(grpc::ServerContext*, const v1::ListLogRequest* request,
                                         v1::ListLogResponse* response) {
  for (auto& line : board_.log(request->server(), request->at_least(), bounded(request->limit()))) {
    *response->add_lines() = std::move(line);
  }
  return grpc::Status::OK;
}

grpc::Status supervisor_service::GetOperation(grpc::ServerContext*, const v1::GetOperationRequest* request,
                                              v1::GetOperationResponse* response) {
  auto operation = board_.operation(request->name());
  if (!operation) {
    return rpc::to_grpc(absl::NotFoundError(fmt::format("there is no operation \"{}\"", request->name())));
  }
  *response->mutable_operation() = *std::move(operation);
  return grpc::Status::OK;
}

grpc::Status supervisor_service::ListOperations(grpc::ServerContext*,
                                                const v1::ListOperationsRequest* request,
                                                v1::ListOperationsResponse* response) {
  for (auto& operation : board_.operations()) {
    if (!request->server().empty() && operation.server() != request->server()) continue;
    if (operation.done() && !request->ended()) continue;
    *response->add_operations() = std::move(operation);
  }
  return grpc::Status::OK;
}

grpc::Status supervisor_service::WaitOperation(grpc::ServerContext* context,
                                               const v1::WaitOperationRequest* request,
                                               v1::WaitOperationResponse* response) {
  auto end = steady_clock::now() + longest_wait;
  if (request->has_period()) {
    end =
        steady_clock::now() + std::chrono::milliseconds(TimeUtil::DurationToMilliseconds(request->period()));
  }
  for (;;) {
    auto operation =
        board_.wait_operation(request->name(), std::min(end, steady_clock::now() + cancellation_poll));
    if (!operation) {
      return rpc::to_grpc(absl::NotFoundError(fmt::format("there is no operation \"{}\"", request->name())));
    }
    if (operation->done() || steady_clock::now() >= end) {
      *response->mutable_operation() = *std::move(operation);
      return grpc::Status::OK;
    }
    if (context->IsCancelled()) return grpc::Status::CANCELLED;
  }
}

grpc::Status supervisor_service::Watch(grpc::ServerContext* context, const v1::WatchRequest* request,
                                       grpc::ServerWriter<v1::WatchResponse>* writer) {
  for (const auto& name : request->servers()) {
    if (auto spec = find(name); !spec.ok()) return rpc::to_grpc(spec.status());
  }
  auto follower = board_.subscribe({.servers = {request->servers().begin(), request->servers().end()},
                                    .log = request->log(),
                                    .after_event = request->after_event(),
                                    .after_log = request->after_log()});
  auto next_heartbeat = steady_clock::now() + heartbeat_interval;
  while (!context->IsCancelled() && !follower->closed()) {
    auto update = follower->next(std::min(next_heartbeat, steady_clock::now() + cancellation_poll));
    if (!update && steady_clock::now() >= next_heartbeat) {
      update.emplace();
      *update->mutable_heartbeat() = rpc::timestamp_now();
    }
    if (!update) continue;
    if (!writer->Write(*update)) break;
    next_heartbeat = steady_clock::now() + heartbeat_interval;
  }
  if (follower->closed()) return {grpc::StatusCode::UNAVAILABLE, "understudyd is going down"};
  return grpc::Status::OK;
}

grpc::Status supervisor_service::GetVersion(grpc::ServerContext*, const v1::GetVersionRequest*,
                                            v1::GetVersionResponse* response) {
  response->set_version(UNDERSTUDY_VERSION);
  for (const auto& state : board_.servers()) {
    if (!state.agent_version().empty()) (*response->mutable_agents())[state.name()] = state.agent_version();
  }
  return grpc::Status::OK;
}

}  // namespace understudy::api
