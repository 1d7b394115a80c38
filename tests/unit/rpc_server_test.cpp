#include "common/rpc/rpc_server.hpp"

#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/impl/client_unary_call.h>
#include <gtest/gtest.h>

#include "common/rpc/channel.hpp"
#include "common/rpc/rpc_status.hpp"
#include "common/status/status_text.hpp"
#include "grpc/health/v1/health.pb.h"
#include "grpc/reflection/v1/reflection.grpc.pb.h"
#include "understudy/v1/gate.grpc.pb.h"

namespace understudy::rpc {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;
using testing::IsSupersetOf;

class gate final : public v1::Gate::Service {
 public:
  absl::Status answer;
  grpc::Status AskToRun(grpc::ServerContext*, const v1::AskToRunRequest*, v1::AskToRunResponse*) override {
    return to_grpc(answer);
  }
};

struct rpc_server_test : testing::Test {
  gate service;
  std::unique_ptr<rpc_server> server;
  std::shared_ptr<grpc::Channel> channel;

  server_options options(const std::string& listen = "127.0.0.1:0") {
    server_options result;
    result.listen = listen;
    result.services = {&service};
    result.service_names = {"understudy.v1.Gate"};
    return result;
  }
  void start() {
    absl::StatusOr<std::unique_ptr<rpc_server>> started = rpc_server::start(options());
    ASSERT_TRUE(started.ok()) << message_of(started.status());
    server = *std::move(started);
    channel = make_channel("127.0.0.1:" + std::to_string(server->port()));
  }

  template <class Request, class Response>
  grpc::Status call(const char* method, const Request& request, Response& response) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + 10s);
    return grpc::internal::BlockingUnaryCallImpl<google::protobuf::MessageLite,
                                                 google::protobuf::MessageLite>(
               channel.get(), grpc::internal::RpcMethod(method, grpc::internal::RpcMethod::NORMAL_RPC),
               &context, request, &response)
        .status();
  }
  int health(const std::string& name) {
    grpc::health::v1::HealthCheckRequest request;
    request.set_service(name);
    grpc::health::v1::HealthCheckResponse response;
    const grpc::Status status = call("/grpc.health.v1.Health/Check", request, response);
    return status.ok() ? response.status() : -static_cast<int>(status.error_code());
  }
  // Asks one question over the reflection protocol of this version; the messages are equal in both.
  grpc::reflection::v1::ServerReflectionResponse reflect(
      const std::string& version, const grpc::reflection::v1::ServerReflectionRequest& request) {
    using request_type = grpc::reflection::v1::ServerReflectionRequest;
    using response_type = grpc::reflection::v1::ServerReflectionResponse;
    const std::string path = "/grpc.reflection." + version + ".ServerReflection/ServerReflectionInfo";
    const grpc::internal::RpcMethod method(path.c_str(), grpc::internal::RpcMethod::BIDI_STREAMING, channel);
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + 10s);
    const std::unique_ptr<grpc::ClientReaderWriter<request_type, response_type>> stream(
        grpc::internal::ClientReaderWriterFactory<request_type, response_type>::Create(channel.get(), method,
                                                                                       &context));
    response_type response;
    EXPECT_TRUE(stream->Write(request));
    EXPECT_TRUE(stream->Read(&response));
    stream->WritesDone();
    EXPECT_TRUE(stream->Finish().ok());
    return response;
  }
};

TEST_F(rpc_server_test, reflection_lists_and_describes_every_service_in_both_versions) {
  start();
  for (const char* version : {"v1", "v1alpha"}) {
    grpc::reflection::v1::ServerReflectionRequest request;
    request.set_list_services("*");
    std::vector<std::string> names;
    const auto listed = reflect(version, request);
    for (const auto& found : listed.list_services_response().service()) names.push_back(found.name());
    EXPECT_THAT(names,
                IsSupersetOf({"understudy.v1.Gate", "grpc.health.v1.Health", "grpc.channelz.v1.Channelz"}))
        << version;
    for (const std::string& name : names) {
      request.set_file_containing_symbol(name);
      const auto answer = reflect(version, request);
      EXPECT_TRUE(answer.has_file_descriptor_response())
          << version << " " << name << " " << answer.ShortDebugString();
    }
  }
}

TEST_F(rpc_server_test, health_follows_each_service) {
  start();
  constexpr int serving = grpc::health::v1::HealthCheckResponse::SERVING;
  constexpr int not_serving = grpc::health::v1::HealthCheckResponse::NOT_SERVING;
  EXPECT_EQ(health(""), not_serving);
  server->set_all_serving(true);
  EXPECT_EQ(health(""), serving);
  EXPECT_EQ(health("understudy.v1.Gate"), serving);
  EXPECT_EQ(health("no.such.Service"), -static_cast<int>(grpc::StatusCode::NOT_FOUND));
  server->set_serving("understudy.v1.Gate", false);
  EXPECT_EQ(health("understudy.v1.Gate"), not_serving);
}

TEST_F(rpc_server_test, a_port_in_use_is_said_with_the_command_that_tells_by_whom) {
  start();
  const std::string address = "127.0.0.1:" + std::to_string(server->port());
  const absl::Status status = rpc_server::start(options(address)).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kAlreadyExists);
  EXPECT_THAT(std::string(message_of(status)), HasSubstr("Address already in use"));
  EXPECT_THAT(std::string(message_of(status)),
              HasSubstr("ss -ltnp 'sport = :" + std::to_string(server->port())));
}

TEST_F(rpc_server_test, plaintext_beyond_loopback_names_both_remedies) {
  for (const char* listen : {"0.0.0.0:0", "[::]:0", "10.0.0.9:0", "example.org:0"}) {
    const absl::Status status = rpc_server::start(options(listen)).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << listen;
    EXPECT_THAT(std::string(message_of(status)), HasSubstr("insecure = true"));
    EXPECT_THAT(std::string(message_of(status)), HasSubstr("certificate, key and ca"));
  }
  server_options lab = options("0.0.0.0:0");
  lab.insecure = true;
  EXPECT_TRUE(rpc_server::start(lab).ok());
}

TEST_F(rpc_server_test, malformed_addresses_are_refused) {
  for (const char* listen :
       {"", ":7100", "7100", "::1:7100", "1.2.3.4:", "1.2.3.4:70000", "1.2.3.4:7x", "[]:1"}) {
    EXPECT_EQ(rpc_server::start(options(listen)).status().code(), absl::StatusCode::kInvalidArgument)
        << listen;
  }
}

TEST_F(rpc_server_test, details_of_an_error_arrive_at_the_client) {
  service.answer = with_help(
      with_reason(absl::FailedPreconditionError("the slot is busy: élan"), "SLOT_BUSY", {{"server", "a"}}),
      "understudyctl explain a", "what comes next");
  start();
  grpc::ClientContext context;
  v1::AskToRunResponse response;
  const absl::Status status = from_grpc(v1::Gate::NewStub(channel)->AskToRun(&context, {}, &response));
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(message_of(status), "the slot is busy: élan");
  EXPECT_EQ(reason_of(status), "SLOT_BUSY");
  EXPECT_EQ(help_of(status), "understudyctl explain a");
}

TEST(rpc_status, a_huge_message_is_cut_to_what_headers_carry) {
  const grpc::Status status = to_grpc(absl::InternalError(std::string(100'000, 'x')));
  EXPECT_LT(status.error_message().size(), 5000u);
  EXPECT_TRUE(to_grpc(absl::OkStatus()).ok());
  EXPECT_TRUE(with_reason(absl::OkStatus(), "NONE").ok());
}

}  // namespace
}  // namespace understudy::rpc
