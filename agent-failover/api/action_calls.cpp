// The calls of Supervisor that act on a server.

#include <google/protobuf/util/time_util.h>
#include <grpcpp/grpcpp.h>

#include "agent-failover/api/supervisor_service.hpp"
#include "agent-failover/api/unavailable.hpp"

namespace understudy::api {
namespace {

using google::protobuf::util::TimeUtil;

template <class Request>
command make(verb what, const grpc::ServerContext& context, const Request& request) {
  command c;
  c.what = what;
  c.server = request.server();
  c.actor = caller(context);
  c.reason = request.reason();
  c.dry_run = request.dry_run();
  return c;
}

template <class Request>
command make_pause(verb what, const grpc::ServerContext& context, const Request& request) {
  command c = make(what, context, request);
  if (request.has_period()) c.period = std::chrono::seconds(TimeUtil::DurationToSeconds(request.period()));
  return c;
}

command make_plain(verb what, const grpc::ServerContext& context, const std::string& server) {
  command c;
  c.what = what;
  c.server = server;
  c.actor = caller(context);
  return c;
}

}  // namespace

template <class Response>
grpc::Status supervisor_service::run(const command& request, Response* response) {
  command_result result = control_.run(request);
  if (!result.status.ok()) return rpc::to_grpc(result.status);
  response->set_effect(result.effect);
  if (auto operation = board_.operation(result.operation))
    *response->mutable_operation() = *std::move(operation);
  return grpc::Status::OK;
}

template <class Response>
grpc::Status supervisor_service::run_for_state(const command& request, Response* response) {
  command_result result = control_.run(request);
  if (!result.status.ok()) return rpc::to_grpc(result.status);
  if (auto state = board_.server(request.server)) *response->mutable_state() = *std::move(state);
  return grpc::Status::OK;
}

grpc::Status supervisor_service::Suspend(grpc::ServerContext* context, const v1::SuspendRequest* request,
                                         v1::SuspendResponse* response) {
  return run_for_state(make_pause(verb::suspend, *context, *request), response);
}

grpc::Status supervisor_service::Stop(grpc::ServerContext* context, const v1::StopRequest* request,
                                      v1::StopResponse* response) {
  return run_for_state(make_pause(verb::stop, *context, *request), response);
}

grpc::Status supervisor_service::Resume(grpc::ServerContext* context, const v1::ResumeRequest* request,
                                        v1::ResumeResponse* response) {
  return run_for_state(make_plain(verb::resume, *context, request->server()), response);
}

grpc::Status supervisor_service::Start(grpc::ServerContext* context, const v1::StartRequest* request,
                                       v1::StartResponse* response) {
  return run_for_state(make_plain(verb::start, *context, request->server()), response);
}

grpc::Status supervisor_service::Failover(grpc::ServerContext* context, const v1::FailoverRequest* request,
                                          v1::FailoverResponse* response) {
  command c = make(verb::failover, *context, *request);
  c.force = request->force();
  if (c.force && c.reason.empty()) {
    return rpc::to_grpc(rpc::with_field(absl::InvalidArgumentError("a forced takeover needs a reason"),
                                        "reason", "say why the primary is not asked"));
  }
  return run(c, response);
}

grpc::Status supervisor_service::StopFailover(grpc::ServerContext* context,
                                              const v1::StopFailoverRequest* request,
                                              v1::StopFailoverResponse* response) {
  return run(make(verb::stop_failover, *context, *request), response);
}

grpc::Status supervisor_service::Failback(grpc::ServerContext* context, const v1::FailbackRequest* request,
                                          v1::FailbackResponse* response) {
  command c = make(verb::failback, *context, *request);
  c.choice = request->choice();
  return run(c, response);
}

grpc::Status supervisor_service::Replicate(grpc::ServerContext* context, const v1::ReplicateRequest* request,
                                           v1::ReplicateResponse* response) {
  if (request->direction() == v1::REPLICATE_DIRECTION_UNSPECIFIED) {
    return rpc::to_grpc(rpc::with_field(absl::InvalidArgumentError("say which way to copy"), "direction",
                                        "REPLICATE_DIRECTION_FROM_LIVE or REPLICATE_DIRECTION_TO_LIVE"));
  }
  const bool to_live = request->direction() == v1::REPLICATE_DIRECTION_TO_LIVE;
  command c = make(to_live ? verb::replicate_to_live : verb::replicate_from_live, *context, *request);
  c.choice = request->choice();
  return run(c, response);
}

grpc::Status supervisor_service::Verify(grpc::ServerContext* context, const v1::VerifyRequest* request,
                                        v1::VerifyResponse* response) {
  return run(make_plain(verb::verify, *context, request->server()), response);
}

grpc::Status supervisor_service::CancelOperation(grpc::ServerContext* context,
                                                 const v1::CancelOperationRequest* request,
                                                 v1::CancelOperationResponse* response) {
  auto operation = board_.operation(request->name());
  if (!operation)
    return rpc::to_grpc(
        absl::NotFoundError("there is no such operation; see `understudyctl operation list`"));
  if (!operation->done() && !control_.cancel(operation->name())) {
    command_result result = control_.run(make_plain(verb::cancel, *context, operation->server()));
    if (!result.status.ok()) return rpc::to_grpc(result.status);
    operation = board_.operation(request->name());
  }
  if (operation) *response->mutable_operation() = *std::move(operation);
  return grpc::Status::OK;
}

grpc::Status supervisor_service::ListApplications(grpc::ServerContext*,
                                                  const v1::ListApplicationsRequest* request,
                                                  v1::ListApplicationsResponse* response) {
  auto state = board_.server(request->server());
  if (!state) return rpc::to_grpc(no_such_server(request->server()));
  *response->mutable_primary() = state->primary_applications();
  *response->mutable_stand_in() = state->stand_in_applications();
  return grpc::Status::OK;
}

grpc::Status supervisor_service::CommandApplication(grpc::ServerContext*,
                                                    const v1::CommandApplicationRequest* request,
                                                    v1::CommandApplicationResponse* response) {
  if (request->command() == v1::APPLICATION_COMMAND_UNSPECIFIED) {
    return rpc::to_grpc(
        rpc::with_field(absl::InvalidArgumentError("say what to do"), "command", "start, stop or restart"));
  }
  if (request->dry_run()) {
    auto state = board_.server(request->server());
    if (!state) return rpc::to_grpc(no_such_server(request->server()));
    *response->mutable_applications() =
        state->standing_in() ? state->stand_in_applications() : state->primary_applications();
    return grpc::Status::OK;
  }
  auto applications =
      control_.command_application(request->server(), request->application(), request->command());
  if (!applications.ok()) return rpc::to_grpc(applications.status());
  for (auto& application : *applications) *response->add_applications() = std::move(application);
  return grpc::Status::OK;
}

}  // namespace understudy::api
