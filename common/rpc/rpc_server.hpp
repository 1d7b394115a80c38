#pragma once

// A gRPC server as both daemons run it: reflection (v1 and v1alpha), health per service, channelz, bounded
// messages, keepalive, and errors that say what to do.

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/rpc/tls_files.hpp"

namespace grpc {
class Channel;
class Server;
class ServerBuilder;
class Service;
}  // namespace grpc

namespace understudy::rpc {

struct server_options {
  std::string listen;     // "0.0.0.0:7100"; port 0: any free one, see port()
  bool insecure = false;  // plaintext allowed beyond loopback
  tls_files tls;          // not configured: plaintext; else clients must show a certificate of `tls.ca`
  bool require_client_certificate =
      true;  // false: asked for and verified, but operators and joining agents have none
  std::vector<grpc::Service*> services;    // outlive the server
  std::vector<std::string> service_names;  // full names, for the health service: "understudy.v1.PrimaryAgent"
  std::function<void(grpc::ServerBuilder&)> customise;  // optional: interceptors, auth processors, ...
};

class rpc_server {
 public:
  // On return it accepts calls, and every service is NOT_SERVING until set_serving().
  static absl::StatusOr<std::unique_ptr<rpc_server>> start(server_options options);
  // shutdown() with a second's grace.
  ~rpc_server();
  rpc_server(const rpc_server&) = delete;
  rpc_server& operator=(const rpc_server&) = delete;

  // Health of one service, or with "" of the server as a whole. Any thread.
  void set_serving(const std::string& service, bool serving);
  void set_all_serving(bool serving);

  int port() const;  // 0 for a unix socket
  grpc::Server& native();
  // A channel to this server that touches no socket: for a gateway in the same process.
  std::shared_ptr<grpc::Channel> in_process_channel();

  // Health goes to NOT_SERVING, no new calls; running ones have `grace` to end and are then cancelled.
  // Returns when all handlers have returned. Idempotent.
  void shutdown(std::chrono::milliseconds grace);

 private:
  class implementation;
  explicit rpc_server(std::unique_ptr<implementation> parts);
  std::unique_ptr<implementation> implementation_;
};

}  // namespace understudy::rpc
