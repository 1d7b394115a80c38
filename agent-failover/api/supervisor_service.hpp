#pragma once

// The Supervisor service: translates calls into control and board, and nothing else. The calls are grouped by
// file: server_calls, status_calls, action_calls, settings_calls, history_calls.

#include <memory>

#include "agent-failover/api/board.hpp"
#include "agent-failover/api/control.hpp"
#include "understudy/v1/supervisor.grpc.pb.h"

namespace understudy::api {

class supervisor_service final : public v1::Supervisor::Service {
 public:
  supervisor_service(control& daemon, board& known) : control_(daemon), board_(known) {}

#define UNDERSTUDY_CALL(name)                                                       \
  grpc::Status name(grpc::ServerContext* context, const v1::name##Request* request, \
                    v1::name##Response* response) override;
  UNDERSTUDY_CALL(AddServer)
  UNDERSTUDY_CALL(ListServers)
  UNDERSTUDY_CALL(GetServer)
  UNDERSTUDY_CALL(UpdateServer)
  UNDERSTUDY_CALL(RemoveServer)
  UNDERSTUDY_CALL(TestServer)
  UNDERSTUDY_CALL(AutoPopulate)

  UNDERSTUDY_CALL(GetStatus)
  UNDERSTUDY_CALL(Explain)
  UNDERSTUDY_CALL(ListEvents)
  UNDERSTUDY_CALL(ListLog)
  UNDERSTUDY_CALL(GetOperation)
  UNDERSTUDY_CALL(ListOperations)
  UNDERSTUDY_CALL(WaitOperation)
  UNDERSTUDY_CALL(GetVersion)
  grpc::Status Watch(grpc::ServerContext* context, const v1::WatchRequest* request,
                     grpc::ServerWriter<v1::WatchResponse>* writer) override;

  UNDERSTUDY_CALL(Suspend)
  UNDERSTUDY_CALL(Resume)
  UNDERSTUDY_CALL(Stop)
  UNDERSTUDY_CALL(Start)
  UNDERSTUDY_CALL(Failover)
  UNDERSTUDY_CALL(StopFailover)
  UNDERSTUDY_CALL(Failback)
  UNDERSTUDY_CALL(Replicate)
  UNDERSTUDY_CALL(Verify)
  UNDERSTUDY_CALL(CancelOperation)
  UNDERSTUDY_CALL(ListApplications)
  UNDERSTUDY_CALL(CommandApplication)

  UNDERSTUDY_CALL(GetSettings)
  UNDERSTUDY_CALL(UpdateSettings)
  UNDERSTUDY_CALL(ListAdapters)

  UNDERSTUDY_CALL(ListHistory)
  UNDERSTUDY_CALL(RestoreDatabaseImage)
  UNDERSTUDY_CALL(ListDeletedFiles)
  UNDERSTUDY_CALL(RestoreDeletedFile)

  // Not part of this version; each says what to do instead.
  UNDERSTUDY_CALL(Rehearse)
  UNDERSTUDY_CALL(TestAlerts)
  UNDERSTUDY_CALL(ExportConfiguration)
  UNDERSTUDY_CALL(ApplyConfiguration)
  UNDERSTUDY_CALL(Initialize)
  UNDERSTUDY_CALL(Login)
  UNDERSTUDY_CALL(ListUsers)
  UNDERSTUDY_CALL(PutUser)
  UNDERSTUDY_CALL(RemoveUser)
  UNDERSTUDY_CALL(CreateToken)
  UNDERSTUDY_CALL(ListTokens)
  UNDERSTUDY_CALL(RevokeToken)
  UNDERSTUDY_CALL(CreateEnrollment)
  UNDERSTUDY_CALL(ListAgents)
  UNDERSTUDY_CALL(RevokeAgent)
#undef UNDERSTUDY_CALL
  grpc::Status SupportBundle(grpc::ServerContext* context, const v1::SupportBundleRequest* request,
                             grpc::ServerWriter<v1::SupportBundleResponse>* writer) override;

 private:
  command_result act(verb what, const std::string& server, const grpc::ServerContext& context);
  // Runs the command, fills in `operation` and `effect`.
  template <class Response>
  grpc::Status run(const command& request, Response* response);
  template <class Response>
  grpc::Status run_for_state(const command& request, Response* response);
  absl::StatusOr<v1::ServerSpec> find(const std::string& name) const;

  control& control_;
  board& board_;
};

// Who calls, for events: the peer's address until operators log in.
std::string caller(const grpc::ServerContext& context);

// The agent's question at its boot gate.
std::unique_ptr<grpc::Service> make_gate_service(control& daemon);
// Enrollment: declared, and answered with what to do instead.
std::unique_ptr<grpc::Service> make_enrollment_service();

}  // namespace understudy::api
