#pragma once

#include "absl/status/status.h"

namespace understudy::channel {

// One end of a two-way stream of messages: a gRPC call, or a pair of queues in a test. One thread sends while
// another receives. After the end of either direction both calls return false.
template <class Out, class In>
class message_stream {
 public:
  virtual ~message_stream() = default;
  // Blocks while the other end does not read. False: the stream has ended.
  virtual bool send(Out message) = 0;
  // Blocks until a message arrives. False: the stream has ended; a message that was read before is never
  // lost.
  virtual bool receive(In& message) = 0;
  // Ends the stream from any thread, at once; a send or receive under way returns false. May be called again.
  virtual void close() = 0;
  // Why the stream ended, once send or receive returned false. Ok: the other end finished as it should.
  virtual absl::Status status() = 0;
};

}  // namespace understudy::channel
