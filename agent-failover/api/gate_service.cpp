#include <grpcpp/grpcpp.h>

#include "agent-failover/api/supervisor_service.hpp"
#include "agent-failover/api/unavailable.hpp"
#include "understudy/v1/enrollment.grpc.pb.h"
#include "understudy/v1/gate.grpc.pb.h"

namespace understudy::api {
namespace {

class gate_service final : public v1::Gate::Service {
 public:
  explicit gate_service(control& daemon) : control_(daemon) {}
  grpc::Status AskToRun(grpc::ServerContext*, const v1::AskToRunRequest* request,
                        v1::AskToRunResponse* response) override {
    *response = control_.ask_to_run(*request);
    response->set_nonce(request->nonce());
    return grpc::Status::OK;
  }

 private:
  control& control_;
};

class enrollment_service final : public v1::Enrollment::Service {
 public:
  grpc::Status Join(grpc::ServerContext*, const v1::JoinRequest*, v1::JoinResponse*) override {
    return rpc::to_grpc(
        unavailable("enrolment", "run both daemons in a trusted network with insecure = true"));
  }
  grpc::Status Renew(grpc::ServerContext*, const v1::RenewRequest*, v1::RenewResponse*) override {
    return rpc::to_grpc(
        unavailable("enrolment", "run both daemons in a trusted network with insecure = true"));
  }
};

}  // namespace

std::unique_ptr<grpc::Service> make_gate_service(control& daemon) {
  return std::make_unique<gate_service>(daemon);
}
std::unique_ptr<grpc::Service> make_enrollment_service() {
  return std::make_unique<enrollment_service>();
}

}  // namespace understudy::api
