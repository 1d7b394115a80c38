#include "common/rpc/rpc_server.hpp"

#include <fmt/core.h>
#include <grpc/support/log.h>
#include <grpcpp/ext/channelz_service_plugin.h>
#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/security/tls_certificate_provider.h>
#include <grpcpp/security/tls_credentials_options.h>
#include <netdb.h>
#include <sys/socket.h>

#include <cerrno>
#include <mutex>

#include "common/log/log.hpp"
#include "common/os/unique_fd.hpp"
#include "common/rpc/listen_address.hpp"
#include "common/rpc/message_limits.hpp"
#include "common/rpc/reflection_v1.hpp"
#include "common/status/errno_status.hpp"
#include "common/status/status_macros.hpp"
#include "common/status/status_text.hpp"
#include "grpc/health/v1/health.pb.h"

namespace understudy::rpc {
namespace {

constexpr unsigned certificate_refresh_s = 10;  // how soon a renewed certificate is seen
constexpr int keepalive_ms = 10000;  // between pings to a silent client: a dead one is dropped in 15 s
constexpr int keepalive_timeout_ms = 5000;
constexpr int shortest_client_ping_ms = 1000;  // a client that pings more often is cut off

void install_plugins() {
  static std::once_flag once;
  std::call_once(once, [] {
    // gRPC reports what the caller learns anyway; its own lines are for developers.
    gpr_set_log_function([](gpr_log_func_args* line) { log::debug("grpc", "{}", line->message); });
    grpc::EnableDefaultHealthCheckService(true);
    grpc::reflection::InitProtoReflectionServerBuilderPlugin();
    grpc::channelz::experimental::InitChannelzService();
    // Links the descriptor of the health service, so that reflection can describe it.
    grpc::health::v1::HealthCheckRequest::descriptor();
  });
}

std::shared_ptr<grpc::ServerCredentials> credentials_of(const server_options& options) {
  if (!options.tls.configured()) return grpc::InsecureServerCredentials();
  grpc::experimental::TlsServerCredentialsOptions tls(
      std::make_shared<grpc::experimental::FileWatcherCertificateProvider>(
          options.tls.key, options.tls.certificate, options.tls.ca, certificate_refresh_s));
  tls.watch_root_certs();
  tls.watch_identity_key_cert_pairs();
  tls.set_cert_request_type(options.require_client_certificate
                                ? GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY
                                : GRPC_SSL_REQUEST_CLIENT_CERTIFICATE_AND_VERIFY);
  return grpc::experimental::TlsServerCredentials(tls);
}

// gRPC only says that it failed; a bind of our own tells why.
absl::Status why_not(const listen_address& address) {
  if (address.host.empty()) return absl::UnavailableError(fmt::format("cannot listen on {}", address.text));
  addrinfo hints{};
  hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  if (const int error =
          getaddrinfo(address.host.c_str(), fmt::format("{}", address.port).c_str(), &hints, &found);
      error != 0) {
    return absl::InvalidArgumentError(
        fmt::format("cannot listen on {}: {}", address.text, gai_strerror(error)));
  }
  absl::Status reason = absl::UnavailableError(fmt::format("cannot listen on {}", address.text));
  for (const addrinfo* a = found; a != nullptr; a = a->ai_next) {
    const os::unique_fd socket(::socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC, 0));
    if (!socket || ::bind(socket.value(), a->ai_addr, a->ai_addrlen) == 0) continue;
    const int error = errno;
    reason = errno_status(error, "listen on", address.text);
    if (error == EADDRINUSE) {
      reason = absl::AlreadyExistsError(
          fmt::format("{}; see who has it with: ss -ltnp 'sport = :{}'", message_of(reason), address.port));
    }
  }
  freeaddrinfo(found);
  return reason;
}

}  // namespace

class rpc_server::implementation {
 public:
  reflection_v1 reflection;
  std::vector<std::string> names;
  std::unique_ptr<grpc::Server> server;
  int port = 0;
  std::once_flag down;
};

absl::StatusOr<std::unique_ptr<rpc_server>> rpc_server::start(server_options options) {
  UNDERSTUDY_ASSIGN_OR_RETURN(const listen_address address, parse_listen_address(options.listen));
  UNDERSTUDY_RETURN_IF_ERROR(check_plaintext(address, options.tls.configured(), options.insecure));
  install_plugins();

  auto parts = std::make_unique<implementation>();
  grpc::ServerBuilder builder;
  // Without this two daemons share the port and each gets half of the calls.
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, keepalive_ms);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, keepalive_timeout_ms);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, shortest_client_ping_ms);
  builder.AddChannelArgument(GRPC_ARG_ENABLE_CHANNELZ, 1);
  builder.SetMaxReceiveMessageSize(largest_message_bytes);
  builder.SetMaxSendMessageSize(largest_message_bytes);
  builder.AddListeningPort(options.listen, credentials_of(options), &parts->port);
  for (grpc::Service* service : options.services) builder.RegisterService(service);
  builder.RegisterService(&parts->reflection);
  if (options.customise) options.customise(builder);
  parts->server = builder.BuildAndStart();
  if (parts->server == nullptr || (!address.host.empty() && parts->port == 0)) return why_not(address);
  parts->reflection.connect(*parts->server);
  parts->names = std::move(options.service_names);
  std::unique_ptr<rpc_server> result(new rpc_server(std::move(parts)));
  result->set_all_serving(false);
  return result;
}

rpc_server::rpc_server(std::unique_ptr<implementation> parts) : implementation_(std::move(parts)) {}

rpc_server::~rpc_server() {
  shutdown(std::chrono::seconds{1});
}

void rpc_server::set_serving(const std::string& service, bool serving) {
  implementation_->server->GetHealthCheckService()->SetServingStatus(service, serving);
}

void rpc_server::set_all_serving(bool serving) {
  for (const std::string& name : implementation_->names) set_serving(name, serving);
  set_serving("", serving);
}

int rpc_server::port() const {
  return implementation_->port;
}

grpc::Server& rpc_server::native() {
  return *implementation_->server;
}

std::shared_ptr<grpc::Channel> rpc_server::in_process_channel() {
  return implementation_->server->InProcessChannel({});
}

void rpc_server::shutdown(std::chrono::milliseconds grace) {
  std::call_once(implementation_->down, [&] {
    set_all_serving(false);
    implementation_->server->Shutdown(std::chrono::system_clock::now() + grace);
    implementation_->server->Wait();
  });
}

}  // namespace understudy::rpc
