#pragma once

#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace understudy::rpc {

// An address to listen on: "0.0.0.0:7100", "[::1]:7200", "localhost:0", "unix:/run/understudy.sock".
struct listen_address {
  std::string host;       // without brackets; empty for a unix socket
  int port = 0;           // 0: any free one
  bool loopback = false;  // nobody but this machine can reach it

  std::string text;  // as written
};

absl::StatusOr<listen_address> parse_listen_address(std::string_view text);

// The rule of both daemons: plaintext beyond loopback only if it is written out. Names both remedies.
absl::Status check_plaintext(const listen_address& address, bool tls, bool insecure);

}  // namespace understudy::rpc
