#include "agent-primary/service/primary_agent_service.hpp"

#include <fmt/core.h>
#include <grpcpp/grpcpp.h>
#include <caf/send.hpp>

#include <algorithm>
#include <future>
#include <optional>

#include "agent-failover/replica/tree/restore_files_service.hpp"
#include "agent-primary/application/application_proto.hpp"
#include "agent-primary/files/files_service.hpp"
#include "agent-primary/service/agent_parts.hpp"
#include "agent-primary/service/database_paths.hpp"
#include "agent-primary/service/database_restore.hpp"
#include "agent-primary/service/describe.hpp"
#include "agent-primary/service/files_restore.hpp"
#include "agent-primary/service/lease_streams.hpp"
#include "common/channel/database_service.hpp"
#include "common/os/file_system.hpp"
#include "common/rpc/rpc_status.hpp"
#include "common/status/status_macros.hpp"

namespace understudy::service {
namespace {

constexpr std::chrono::minutes longest_control{
    12};  // the longest stop grace and some; a client's deadline is shorter

absl::Status no_such_catalog(const std::string& catalog) {
  return rpc::with_help(
      absl::NotFoundError(fmt::format("there is no database with the catalog \"{}\" here", catalog)),
      "grpcurl -plaintext PRIMARY:7100 understudy.v1.PrimaryAgent/Describe", "see what there is");
}

absl::StatusOr<database_config> find_database(const agent_parts& parts, const std::string& catalog) {
  for (database_config& database : parts.databases()) {
    if (database.catalog == catalog) return std::move(database);
  }
  return no_such_catalog(catalog);
}

// What is restored may be gone here.
absl::StatusOr<database_config> find_or_make(const agent_parts& parts, const std::string& catalog,
                                             const std::string& path) {
  absl::StatusOr<database_config> present = find_database(parts, catalog);
  if (present.ok()) return present;
  std::optional<database_config> would_be = would_find(parts.config.databases, path);
  if (!would_be || would_be->catalog != catalog) return present;
  if (const std::string parent = path.substr(0, path.rfind('/')); !parent.empty())
    UNDERSTUDY_RETURN_IF_ERROR(os::make_directories(os::posix_file_system(), parent));
  return *std::move(would_be);
}

// A restore writes to the application's data: only while the right is elsewhere, by this very owner, and
// nothing runs.
absl::Status restore_permitted(const agent_parts& parts, std::uint64_t epoch) {
  const lease_snapshot now = parts.right();
  if (now.right.owner != lease::right_owner::failover_host || now.right.epoch != epoch) {
    return rpc::with_reason(absl::FailedPreconditionError(fmt::format(
                                "this primary is not fenced under epoch {}: it holds epoch {}, owner {}",
                                epoch, now.right.epoch, lease::to_string(now.right.owner))),
                            "NOT_FENCED");
  }
  if (now.phase != lease::gate_phase::closed || !parts.applications->all_down()) {
    return rpc::with_reason(
        absl::FailedPreconditionError("the applications of this primary have not stopped yet"),
        "APPLICATIONS_UP");
  }
  return absl::OkStatus();
}

absl::Status no_such_tree(std::uint32_t index) {
  return absl::NotFoundError(fmt::format("there is no file tree {} here; Describe lists them from 0", index));
}

// Between the start of the server and that of the actors, and while the agent stops.
grpc::Status starting() {
  return {grpc::StatusCode::UNAVAILABLE, "the agent is starting or stopping; try again"};
}

grpc::Status no_witness() {
  return rpc::to_grpc(rpc::with_help(
      rpc::with_reason(
          absl::UnimplementedError(
              "this agent does not serve as a witness. Protect its peers in mode compat, which needs none"),
          "NO_WITNESS"),
      "understudyctl server set NAME protection=compat", "protection without a witness"));
}

}  // namespace

grpc::Status primary_agent_service::Describe(grpc::ServerContext*, const v1::DescribeRequest*,
                                             v1::DescribeResponse* response) {
  *response = describe(parts_);
  return grpc::Status::OK;
}

grpc::Status primary_agent_service::TestDatabase(grpc::ServerContext*, const v1::TestDatabaseRequest* request,
                                                 v1::TestDatabaseResponse* response) {
  std::string path = request->path();
  if (!request->catalog().empty()) {
    const absl::StatusOr<database_config> database = find_database(parts_, request->catalog());
    if (!database.ok()) return rpc::to_grpc(database.status());
    path = database->path;
  }
  if (path.empty() || path.front() != '/') {
    return rpc::to_grpc(rpc::with_field(absl::InvalidArgumentError("name a catalog, or an absolute path"),
                                        "path", "an absolute path on the primary"));
  }
  *response = test_database(path);
  return grpc::Status::OK;
}

grpc::Status primary_agent_service::HoldLease(
    grpc::ServerContext* context,
    grpc::ServerReaderWriter<v1::HoldLeaseResponse, v1::HoldLeaseRequest>* call) {
  if (!parts_.serving()) return starting();
  return parts_.streams->serve(*context, *call);
}

grpc::Status primary_agent_service::ControlApplication(grpc::ServerContext* context,
                                                       const v1::ControlApplicationRequest* request,
                                                       v1::ControlApplicationResponse* response) {
  if (!parts_.serving()) return starting();
  application::command what = application::command::stop;
  switch (request->command()) {
    case v1::APPLICATION_COMMAND_START:
      what = application::command::start;
      break;
    case v1::APPLICATION_COMMAND_STOP:
      what = application::command::stop;
      break;
    case v1::APPLICATION_COMMAND_RESTART:
      what = application::command::restart;
      break;
    default:
      return rpc::to_grpc(
          rpc::with_field(absl::InvalidArgumentError("say what to do: start, stop or restart"), "command",
                          "one of START, STOP, RESTART"));
  }
  const auto deadline = std::min(context->deadline(), std::chrono::system_clock::now() + longest_control);
  // Answers may come after this call gave up waiting.
  if (what != application::command::stop) {
    auto decided = std::make_shared<std::promise<lease_snapshot>>();
    std::future<lease_snapshot> answer = decided->get_future();
    caf::anon_send(parts_.lease_keeper(), atom::feed_v,
                   gate_request{lease::start_asked{},
                                [decided](const lease_snapshot& now) { decided->set_value(now); }});
    if (answer.wait_until(deadline) != std::future_status::ready)
      return {grpc::StatusCode::DEADLINE_EXCEEDED, "no answer in time"};
    const lease_snapshot now = answer.get();
    if (!now.refusal.empty()) {
      return rpc::to_grpc(
          rpc::with_help(rpc::with_reason(absl::FailedPreconditionError(now.refusal), "RIGHT_NOT_HELD",
                                          {{"owner", now.right.owner_name}}),
                         "understudyctl failback NAME", "bring the right to run back to the primary"));
    }
  }
  auto done = std::make_shared<std::promise<absl::Status>>();
  std::future<absl::Status> answer = done->get_future();
  caf::anon_send(parts_.application_keeper(), atom::control_v,
                 application_request{request->application(), what,
                                     [done](const absl::Status& status) { done->set_value(status); }});
  if (answer.wait_until(deadline) != std::future_status::ready) {
    return {grpc::StatusCode::DEADLINE_EXCEEDED, "under way, but not done in time"};
  }
  if (const absl::Status status = answer.get(); !status.ok()) return rpc::to_grpc(status);
  for (const application::application_status& status : parts_.applications->status()) {
    *response->add_applications() = application::to_proto(status);
  }
  return grpc::Status::OK;
}

grpc::Status primary_agent_service::ReplicateDatabase(
    grpc::ServerContext* context,
    grpc::ServerReaderWriter<v1::ReplicateDatabaseResponse, v1::ReplicateDatabaseRequest>* call) {
  if (!parts_.serving()) return starting();
  channel::replicate_database_service service;
  service.find =
      [this](const std::string& catalog) -> absl::StatusOr<std::shared_ptr<channel::database_source>> {
    absl::StatusOr<database_config> database = find_database(parts_, catalog);
    if (!database.ok()) return database.status();
    return parts_.capture->add(database->path);
  };
  return channel::serve(service, *context, *call);
}

grpc::Status primary_agent_service::RestoreDatabase(
    grpc::ServerContext* context,
    grpc::ServerReaderWriter<v1::RestoreDatabaseResponse, v1::RestoreDatabaseRequest>* call) {
  if (!parts_.serving()) return starting();
  channel::restore_database_service service;
  service.begin = [this, context](const v1::RestoreDatabaseRequest& first, const channel::work_listener& tell)
      -> absl::StatusOr<std::unique_ptr<channel::database_restore>> {
    const std::string& catalog = first.catalog();
    const std::uint64_t epoch = first.epoch();
    UNDERSTUDY_ASSIGN_OR_RETURN(const database_config database, find_or_make(parts_, catalog, first.path()));
    UNDERSTUDY_ASSIGN_OR_RETURN(std::shared_ptr<void> turn,
                                parts_.restores.enter(
                                    catalog, [context] { context->TryCancel(); },
                                    [&] {
                                      return tell({"waiting for an earlier restore to end", 0, 0});
                                    }));
    return begin_restore({.catalog = catalog,
                          .path = database.path,
                          .state_dir = parts_.config.state_dir,
                          .epoch = epoch,
                          .permitted = [this, epoch] { return restore_permitted(parts_, epoch); },
                          .tell = tell,
                          .turn = std::move(turn)});
  };
  return channel::serve(service, *context, *call);
}

grpc::Status primary_agent_service::ReplicateFiles(
    grpc::ServerContext* context,
    grpc::ServerReaderWriter<v1::ReplicateFilesResponse, v1::ReplicateFilesRequest>* call) {
  if (!parts_.serving()) return starting();
  files::replicate_files_service service;
  service.find = [this](std::uint32_t index) -> absl::StatusOr<std::shared_ptr<files::file_source>> {
    if (index >= parts_.file_sources.size()) return no_such_tree(index);
    const files::selection& what = parts_.file_sources[index]->what();
    // Whoever follows this tree has no failback under way.
    if (const absl::Status status =
            files::discard_incoming(os::posix_file_system(), restore_options(what, index));
        !status.ok()) {
      return status;
    }
    return parts_.file_sources[index];
  };
  return files::serve(service, *context, *call);
}

grpc::Status primary_agent_service::RestoreFiles(
    grpc::ServerContext* context,
    grpc::ServerReaderWriter<v1::RestoreFilesResponse, v1::RestoreFilesRequest>* call) {
  if (!parts_.serving()) return starting();
  std::shared_ptr<void> turn;
  files::restore_files_service service;
  service.permitted = [this](std::uint64_t epoch) { return restore_permitted(parts_, epoch); };
  service.begin = [this, context, &turn](
                      std::uint32_t index, std::uint64_t epoch,
                      files::frozen_base base) -> absl::StatusOr<std::unique_ptr<files::incoming_tree>> {
    if (index >= parts_.file_sources.size()) return no_such_tree(index);
    UNDERSTUDY_ASSIGN_OR_RETURN(turn,
                                parts_.restores.enter(
                                    fmt::format("file tree {}", index), [context] { context->TryCancel(); },
                                    [context] { return !context->IsCancelled(); }));
    if (const absl::Status status = restore_permitted(parts_, epoch); !status.ok()) return status;
    return files::incoming_tree::open(os::posix_file_system(),
                                      restore_options(parts_.file_sources[index]->what(), index), epoch,
                                      std::move(base));
  };
  return files::serve(service, *context, *call);
}

grpc::Status primary_agent_service::WitnessRecordClaim(grpc::ServerContext*,
                                                       const v1::WitnessRecordClaimRequest*,
                                                       v1::WitnessRecordClaimResponse*) {
  return no_witness();
}
grpc::Status primary_agent_service::WitnessWithdrawClaim(grpc::ServerContext*,
                                                         const v1::WitnessWithdrawClaimRequest*,
                                                         v1::WitnessWithdrawClaimResponse*) {
  return no_witness();
}
grpc::Status primary_agent_service::WitnessRenewLease(grpc::ServerContext*,
                                                      const v1::WitnessRenewLeaseRequest*,
                                                      v1::WitnessRenewLeaseResponse*) {
  return no_witness();
}
grpc::Status primary_agent_service::WitnessRead(grpc::ServerContext*, const v1::WitnessReadRequest*,
                                                v1::WitnessReadResponse*) {
  return no_witness();
}

}  // namespace understudy::service
