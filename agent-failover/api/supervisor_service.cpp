#include "agent-failover/api/supervisor_service.hpp"

#include <fmt/core.h>
#include <grpcpp/grpcpp.h>

#include "agent-failover/api/unavailable.hpp"

namespace understudy::api {

std::string caller(const grpc::ServerContext& context) {
  return context.peer();
}

absl::StatusOr<v1::ServerSpec> supervisor_service::find(const std::string& name) const {
  for (const auto& spec : control_.servers()) {
    if (spec.name() == name) return spec;
  }
  return no_such_server(name);
}

absl::Status no_such_server(const std::string& name) {
  return rpc::with_help(rpc::with_reason(absl::NotFoundError(fmt::format("there is no server \"{}\"", name)),
                                         "NO_SUCH_SERVER", {{"server", name}}),
                        "understudyctl server list", "the servers there are");
}

absl::Status changed_meanwhile() {
  return rpc::with_reason(
      absl::AbortedError("somebody else changed this server meanwhile: read it again and repeat your change"),
      "ETAG_MISMATCH");
}

absl::Status unavailable(std::string_view what, std::string_view instead) {
  return rpc::with_reason(
      absl::UnimplementedError(fmt::format("{} is not part of this version; {}", what, instead)),
      "NOT_IN_THIS_VERSION");
}

#define UNDERSTUDY_UNAVAILABLE(name, what, instead)                                     \
  grpc::Status supervisor_service::name(grpc::ServerContext*, const v1::name##Request*, \
                                        v1::name##Response*) {                          \
    return rpc::to_grpc(unavailable(what, instead));                                    \
  }

UNDERSTUDY_UNAVAILABLE(Rehearse, "a rehearsal",
                       "try the stand-in with `understudyctl failover` in a quiet hour")
UNDERSTUDY_UNAVAILABLE(TestAlerts, "mail", "follow the events with `understudyctl events -f`")
UNDERSTUDY_UNAVAILABLE(ExportConfiguration, "the declarative configuration",
                       "use `understudyctl server show -o json`")
UNDERSTUDY_UNAVAILABLE(ApplyConfiguration, "the declarative configuration",
                       "use `understudyctl server add` and `set`")
UNDERSTUDY_UNAVAILABLE(Initialize, "the operator password",
                       "keep the port on loopback or in a trusted network")
UNDERSTUDY_UNAVAILABLE(Login, "login", "keep the port on loopback or in a trusted network")
UNDERSTUDY_UNAVAILABLE(ListUsers, "user administration", "keep the port on loopback or in a trusted network")
UNDERSTUDY_UNAVAILABLE(PutUser, "user administration", "keep the port on loopback or in a trusted network")
UNDERSTUDY_UNAVAILABLE(RemoveUser, "user administration", "keep the port on loopback or in a trusted network")
UNDERSTUDY_UNAVAILABLE(CreateToken, "token administration",
                       "keep the port on loopback or in a trusted network")
UNDERSTUDY_UNAVAILABLE(ListTokens, "token administration",
                       "keep the port on loopback or in a trusted network")
UNDERSTUDY_UNAVAILABLE(RevokeToken, "token administration",
                       "keep the port on loopback or in a trusted network")
UNDERSTUDY_UNAVAILABLE(CreateEnrollment, "enrolment", "add the agent with `understudyctl server add`")
UNDERSTUDY_UNAVAILABLE(ListAgents, "enrolment", "see `understudyctl server list`")
UNDERSTUDY_UNAVAILABLE(RevokeAgent, "enrolment", "remove the server with `understudyctl server remove`")
#undef UNDERSTUDY_UNAVAILABLE

grpc::Status supervisor_service::SupportBundle(grpc::ServerContext*, const v1::SupportBundleRequest*,
                                               grpc::ServerWriter<v1::SupportBundleResponse>*) {
  return rpc::to_grpc(
      unavailable("the support bundle", "collect `status -o json`, `events -o json` and `log -o json`"));
}

}  // namespace understudy::api
