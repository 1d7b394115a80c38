#pragma once

#include <memory>
#include <mutex>

#include "agent-primary/service/agent_actors.hpp"

namespace grpc {
class ServerContext;
class Status;
template <class W, class R>
class ServerReaderWriter;
}  // namespace grpc
namespace understudy::v1 {
class HoldLeaseRequest;
class HoldLeaseResponse;
}  // namespace understudy::v1

namespace understudy::service {

struct agent_parts;

// What a host is told of an application while the gate stands at `phase`. One that has ended while the gate
// is still closing is "stopping": a host that reads "stopped" may restore at once, and what permits a restore
// is the closed gate, which hears of the end a moment later.
application::application_status as_told(application::application_status status, lease::gate_phase phase);

// The agent's end of HoldLease. The newest stream counts; an older one is ended.
//
// A lease counts from the moment the agent asked. What asks is the agent's answer: a host sends a lease only
// after it has read the answer to its previous request on this stream, with nonces that grow by one. The
// lease in request N then counts from just before the answer to N - 1 was made; a lease on the first request
// of a stream is refused.
class lease_streams {
 public:
  explicit lease_streams(agent_parts& parts) : parts_(parts) {}

  // One call, on its own thread, until it ends.
  grpc::Status serve(grpc::ServerContext& context,
                     grpc::ServerReaderWriter<v1::HoldLeaseResponse, v1::HoldLeaseRequest>& call);
  // Something changed that the host wants to know: a response with nonce 0 goes out. Any thread; returns at
  // once.
  void changed();
  // Ends the stream under way: the agent is stopping.
  void end();

 private:
  class session;
  agent_parts& parts_;
  std::mutex mutex_;
  std::shared_ptr<session> current_;  // under mutex_
};

}  // namespace understudy::service
