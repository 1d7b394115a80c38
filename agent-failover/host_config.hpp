#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "common/rpc/tls_files.hpp"

namespace understudy {

// understudyd.toml: the bootstrap only. Servers and settings are in state.db and changed through the API.
struct host_config {
  std::string data_dir = "/var/lib/understudy";
  std::string name;  // shown to agents and operators; default: the host name
  std::string grpc_listen = "0.0.0.0:7200";
  std::string grpc_advertise;  // where agents ask at their boot gate; default: worked out from the route
  std::string http_listen;     // checked and kept; nothing listens there in this version
  rpc::tls_files tls;          // of the API; the line to agents is plaintext
  bool insecure = false;       // plaintext allowed beyond loopback
};

// kInvalidArgument lists every problem as `file:line:column: reason`.
absl::StatusOr<host_config> read_host_config(const std::string& file);

}  // namespace understudy
