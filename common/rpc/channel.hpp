#pragma once

// Client channels between the daemons and from the command line: a dead peer is noticed within seconds, and
// one that is back is met again within a second.

#include <chrono>
#include <memory>
#include <string>

#include "common/rpc/tls_files.hpp"

namespace grpc {
class Channel;
}

namespace understudy::rpc {

struct channel_options {
  tls_files tls;                                      // not configured: plaintext
  std::chrono::milliseconds keepalive{5000};          // between pings while a call is open
  std::chrono::milliseconds keepalive_timeout{4000};  // then the connection is given up and its calls fail
  std::chrono::milliseconds first_backoff{100};       // between connection attempts, growing to
  std::chrono::milliseconds longest_backoff{1000};  // short: a takeover and a failback wait for reconnection
};

// `address`: "10.0.0.9:7200", "[fe80::1%eth0]:7100", "host.example:7100", "unix:/run/x.sock". Never fails: an
// address that cannot be reached shows as UNAVAILABLE on the calls. A channel of its own, not shared with
// others to the same address, so that its reconnection does not depend on them.
std::shared_ptr<grpc::Channel> make_channel(const std::string& address, const channel_options& options = {});

}  // namespace understudy::rpc
