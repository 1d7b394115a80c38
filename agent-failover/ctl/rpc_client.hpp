#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "agent-failover/ctl/ctl_config.hpp"
#include "google/protobuf/message.h"

namespace understudy::ctl {

// A stream of answers. Belongs to the client it came from and must not outlive it.
class rpc_stream {
 public:
  enum class item {
    message,  // *out was filled
    idle,     // nothing came in the time given
    end       // see status()
  };

  virtual ~rpc_stream() = default;
  // The next message. SIGINT ends the stream with CANCELLED.
  virtual item next(google::protobuf::Message* out, std::chrono::milliseconds within) = 0;
  // After the end: how it ended, details included.
  virtual absl::Status status() const = 0;
};

// Calls to the failover host. A method is found by its request's type: services here follow the rule that
// METHOD takes METHODRequest, so no generated stub is needed and a wrong pair of types aborts. Every call
// ends early at SIGINT, with CANCELLED. Used by one thread.
class rpc_client {
 public:
  // Without a deadline a call may take as long as the connection lives.
  static constexpr std::chrono::milliseconds NO_DEADLINE{0};

  virtual ~rpc_client() = default;
  virtual absl::Status call(const google::protobuf::Message& request, google::protobuf::Message* response,
                            std::chrono::milliseconds deadline) = 0;
  virtual std::unique_ptr<rpc_stream> open(const google::protobuf::Message& request,
                                           std::chrono::milliseconds deadline) = 0;
};

// Reads the CA file; connects at the first call. INVALID_ARGUMENT or NOT_FOUND when the configuration cannot
// work.
absl::StatusOr<std::unique_ptr<rpc_client>> make_rpc_client(const ctl_config& config);

}  // namespace understudy::ctl
