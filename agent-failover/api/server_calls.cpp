// The calls of Supervisor that configure servers.

#include <fmt/core.h>
#include <google/protobuf/util/field_mask_util.h>
#include <grpcpp/grpcpp.h>

#include "agent-failover/api/server_test.hpp"
#include "agent-failover/api/supervisor_service.hpp"
#include "agent-failover/api/unavailable.hpp"
#include "agent-failover/link/agent_connection.hpp"
#include "agent-failover/server/spec_check.hpp"
#include "common/status/status_text.hpp"

namespace understudy::api {
namespace {

using google::protobuf::util::FieldMaskUtil;

constexpr std::chrono::milliseconds agent_answer{
    5000};  // a LAN agent answers in 2 ms; a booting one in seconds

absl::Status refuse(const std::vector<server::violation>& violations) {
  absl::Status status = server::to_status(violations);
  for (const auto& v : violations) status = rpc::with_field(status, v.field, v.description);
  return status;
}

absl::StatusOr<v1::DescribeResponse> ask_agent(const std::string& address, std::uint32_t port) {
  const std::string target = link::agent_target(address, port);
  auto description = link::describe_agent(target, agent_answer);
  if (description.ok()) return description;
  return rpc::with_help(rpc::with_reason(absl::Status(description.status().code(),
                                                      fmt::format("the agent at {} does not answer: {}",
                                                                  target, message_of(description.status()))),
                                         "AGENT_UNREACHABLE", {{"target", target}}),
                        "systemctl status understudy-agent",
                        "on the primary: is the agent running, does it listen on that address and port, does "
                        "a firewall stand between?");
}

// What the operator did not name is taken from the agent.
void populate(v1::ServerSpec& spec, const v1::DescribeResponse& agent) {
  if (spec.databases().empty()) {
    for (const auto& database : agent.databases()) {
      auto* added = spec.add_databases();
      added->set_catalog(database.catalog());
      added->set_path(database.path());
      *added->mutable_configuration_tables() = database.configuration_tables();
    }
  }
  if (spec.files().empty()) *spec.mutable_files() = agent.files();
  if (spec.applications().empty()) *spec.mutable_applications() = agent.applications();
}

void fill_defaults(v1::ServerSpec& spec) {
  if (spec.port() == 0) spec.set_port(7100);
  if (spec.mode() == v1::REPLICATION_MODE_UNSPECIFIED) spec.set_mode(v1::REPLICATION_MODE_ALL);
  if (spec.protection() == v1::PROTECTION_MODE_UNSPECIFIED) spec.set_protection(v1::PROTECTION_MODE_COMPAT);
  if (spec.present() == v1::PRESENTATION_UNSPECIFIED) spec.set_present(v1::PRESENTATION_ORIGINAL_PATHS);
}

// What this version cannot do yet is refused when it is asked for, not when it is needed.
absl::Status check_supported(const v1::ServerSpec& spec) {
  if (spec.protection() == v1::PROTECTION_MODE_GUARDED || spec.protection() == v1::PROTECTION_MODE_STRICT) {
    return unavailable("protection by leases", "use --protection compat and read what it cannot prevent");
  }
  return absl::OkStatus();
}

}  // namespace

grpc::Status supervisor_service::AddServer(grpc::ServerContext* context, const v1::AddServerRequest* request,
                                           v1::AddServerResponse* response) {
  v1::ServerSpec spec = request->server();
  fill_defaults(spec);
  if (auto wrong = server::check(spec); !wrong.empty()) return rpc::to_grpc(refuse(wrong));
  if (absl::Status status = check_supported(spec); !status.ok()) return rpc::to_grpc(status);
  if (find(spec.name()).ok()) {
    return rpc::to_grpc(rpc::with_help(
        rpc::with_reason(
            absl::AlreadyExistsError(fmt::format("there is already a server \"{}\"", spec.name())),
            "SERVER_EXISTS"),
        fmt::format("understudyctl server set {} ...", spec.name()), "change it"));
  }
  if (request->auto_populate()) {
    auto agent = ask_agent(spec.address(), spec.port());
    if (!agent.ok()) return rpc::to_grpc(agent.status());
    populate(spec, *agent);
    if (auto wrong = server::check(spec); !wrong.empty()) return rpc::to_grpc(refuse(wrong));
  }
  *response->mutable_server() = spec;
  if (request->dry_run()) return grpc::Status::OK;
  if (absl::Status added = control_.add_server(spec); !added.ok()) return rpc::to_grpc(added);
  if (auto stored = find(spec.name()); stored.ok()) *response->mutable_server() = *std::move(stored);
  if (request->replicate_now()) {
    command first;
    first.what = verb::replicate_from_live;
    first.server = spec.name();
    first.actor = caller(*context);
    command_result result = control_.run(first);
    if (!result.status.ok()) return rpc::to_grpc(result.status);
    if (auto operation = board_.operation(result.operation))
      *response->mutable_operation() = *std::move(operation);
  }
  return grpc::Status::OK;
}

grpc::Status supervisor_service::ListServers(grpc::ServerContext*, const v1::ListServersRequest*,
                                             v1::ListServersResponse* response) {
  for (auto& spec : control_.servers()) *response->add_servers() = std::move(spec);
  return grpc::Status::OK;
}

grpc::Status supervisor_service::GetServer(grpc::ServerContext*, const v1::GetServerRequest* request,
                                           v1::GetServerResponse* response) {
  auto spec = find(request->server());
  if (!spec.ok()) return rpc::to_grpc(spec.status());
  *response->mutable_spec() = *std::move(spec);
  if (auto state = board_.server(request->server())) *response->mutable_state() = *std::move(state);
  return grpc::Status::OK;
}

grpc::Status supervisor_service::UpdateServer(grpc::ServerContext* context,
                                              const v1::UpdateServerRequest* request,
                                              v1::UpdateServerResponse* response) {
  auto stored = find(request->server().name());
  if (!stored.ok()) return rpc::to_grpc(stored.status());
  if (!request->server().etag().empty() && request->server().etag() != stored->etag()) {
    return rpc::to_grpc(changed_meanwhile());
  }
  v1::ServerSpec spec = *stored;
  if (request->update_mask().paths().empty()) {
    spec = request->server();
  } else {
    for (const auto& path : request->update_mask().paths()) {
      if (!FieldMaskUtil::IsValidPath<v1::ServerSpec>(path)) {
        return rpc::to_grpc(
            rpc::with_field(absl::InvalidArgumentError(fmt::format("a server has no field \"{}\"", path)),
                            "update_mask", path));
      }
    }
    FieldMaskUtil::MergeOptions replace;
    replace.set_replace_message_fields(true);
    replace.set_replace_repeated_fields(true);
    FieldMaskUtil::MergeMessageTo(request->server(), request->update_mask(), replace, &spec);
  }
  spec.set_name(stored->name());
  spec.set_etag(stored->etag());
  fill_defaults(spec);
  if (auto wrong = server::check(spec); !wrong.empty()) return rpc::to_grpc(refuse(wrong));
  if (absl::Status status = check_supported(spec); !status.ok()) return rpc::to_grpc(status);
  if (!request->dry_run()) {
    const absl::Status updated = control_.update_server(spec);
    // The caller did not say what it had read: what was read here is read again.
    if (absl::IsAborted(updated) && request->server().etag().empty())
      return UpdateServer(context, request, response);
    if (!updated.ok()) return rpc::to_grpc(updated);
    if (auto now = find(spec.name()); now.ok()) spec = *std::move(now);
  }
  *response->mutable_server() = std::move(spec);
  return grpc::Status::OK;
}

grpc::Status supervisor_service::RemoveServer(grpc::ServerContext*, const v1::RemoveServerRequest* request,
                                              v1::RemoveServerResponse* response) {
  auto stored = find(request->server());
  if (!stored.ok()) return rpc::to_grpc(stored.status());
  response->set_effect(fmt::format("{} is no longer protected; its copy is {}", stored->name(),
                                   request->delete_copy() ? "deleted" : "kept"));
  if (request->dry_run()) return grpc::Status::OK;
  return rpc::to_grpc(control_.remove_server(stored->name(), request->delete_copy()));
}

grpc::Status supervisor_service::AutoPopulate(grpc::ServerContext*, const v1::AutoPopulateRequest* request,
                                              v1::AutoPopulateResponse* response) {
  auto agent = ask_agent(request->address(), request->port());
  if (!agent.ok()) return rpc::to_grpc(agent.status());
  v1::ServerSpec& spec = *response->mutable_server();
  spec.set_name(agent->name());
  spec.set_address(request->address());
  spec.set_port(request->port());
  fill_defaults(spec);
  populate(spec, *agent);
  *response->mutable_agent() = *std::move(agent);
  return grpc::Status::OK;
}

grpc::Status supervisor_service::TestServer(grpc::ServerContext*, const v1::TestServerRequest* request,
                                            v1::TestServerResponse* response) {
  v1::ServerSpec spec = request->spec();
  if (!request->server().empty()) {
    auto stored = find(request->server());
    if (!stored.ok()) return rpc::to_grpc(stored.status());
    spec = *std::move(stored);
  }
  if (auto wrong = server::check(spec); !wrong.empty()) return rpc::to_grpc(refuse(wrong));
  for (auto& result : test_server(spec, control_.settings())) *response->add_checks() = std::move(result);
  return grpc::Status::OK;
}

}  // namespace understudy::api
