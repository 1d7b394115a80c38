#pragma once

// The failover host's line to one agent: a channel, and on it the HoldLease stream that carries the right to
// run and the agent's state. It reconnects by itself.
//
// Threads: any. Events come on the connection's own thread and must only post onwards.

#include <chrono>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "understudy/v1/primary_agent.pb.h"

namespace grpc {
class Channel;
}

namespace understudy::link {

class agent_connection {
 public:
  struct events {
    std::function<void()> up;                                 // the stream is open; a state follows
    std::function<void(const std::string& reason)> down;      // once per loss, with a reason for people
    std::function<void(const v1::HoldLeaseResponse&)> state;  // the agent's state, also unasked
  };
  struct identity {
    std::string server;        // the name under which this host knows the primary
    std::string host_address;  // where the agent asks at its next boot: "10.0.0.9:7200"
  };

  // `target`: "10.0.0.5:7100", "[fe80::1%eth0]:7100".
  static std::unique_ptr<agent_connection> open(std::string target, identity who, events on);
  virtual ~agent_connection() = default;  // no event after it returned
  // Hangs up for good: whoever waits for an answer is told at once.
  virtual void close() = 0;

  // Dials another address from now on.
  virtual void redirect(std::string target) = 0;
  // Gives the present line up and dials anew: for one on which nothing is answered, which may be what a
  // machine that was reset left behind.
  virtual void renew() = 0;
  // There is a line. A peer that lost its power counts as connected until the keepalive or its reset tells.
  virtual bool connected() const = 0;
  virtual std::shared_ptr<grpc::Channel> channel() const = 0;

  // Sends a grant, a fence or a question (nonce is filled in) and waits for its answer. kUnavailable when the
  // agent is not connected, kDeadlineExceeded when it did not answer, kFailedPrecondition with its text when
  // it could not carry it out.
  virtual absl::StatusOr<v1::HoldLeaseResponse> exchange(v1::HoldLeaseRequest request,
                                                         std::chrono::milliseconds timeout) = 0;
  virtual absl::StatusOr<v1::DescribeResponse> describe(std::chrono::milliseconds timeout) = 0;
  virtual absl::StatusOr<v1::ControlApplicationResponse> control(const v1::ControlApplicationRequest& request,
                                                                 std::chrono::milliseconds timeout) = 0;
};

// One question to an agent that is not connected yet (auto-populate, test).
absl::StatusOr<v1::DescribeResponse> describe_agent(const std::string& target,
                                                    std::chrono::milliseconds timeout);
absl::StatusOr<v1::TestDatabaseResponse> test_database(const std::string& target,
                                                       const v1::TestDatabaseRequest& request,
                                                       std::chrono::milliseconds timeout);

// "10.0.0.5" and 7100 -> "10.0.0.5:7100"; IPv6 in brackets; port 0 means 7100.
std::string agent_target(const std::string& address, std::uint32_t port);

}  // namespace understudy::link
