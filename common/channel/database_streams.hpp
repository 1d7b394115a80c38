#pragma once

// Database streams over gRPC: the client's side, at the failover host. The protocol is in source_session.hpp
// and sink_session.hpp. Each stream has two threads of its own, which also make the callbacks; a callback
// does no more than post onwards and never destroys its stream. Reconnecting is up to the owner: a stream
// ends once.

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/channel/database_progress.hpp"
#include "common/channel/database_sink.hpp"
#include "common/channel/database_source.hpp"
#include "common/channel/restore_work.hpp"

namespace grpc {
class ChannelInterface;
}

namespace understudy::v1 {
class AdoptImage;
class Adopted;
}  // namespace understudy::v1

namespace understudy::channel {

struct stream_callbacks {
  // At every change of phase, otherwise at most every 50 ms, and never later than that after the last change.
  std::function<void(const database_progress&)> on_progress;
  // Exactly once, as the last call. Ok only after a planned end (drained and stopped, or adopted); kCancelled
  // after stop(); kUnavailable when the connection broke or went silent: connect again.
  std::function<void(const absl::Status&)> on_end;
  // Restores only: the agent is at work on its side, before the first progress and while it adopts. Comes
  // every second; may be empty.
  std::function<void(const restore_work&)> on_work = {};
};

// Destroying it stops it and waits for its threads.
class database_stream {
 public:
  virtual ~database_stream() = default;
  // Asks for the planned end: once the source has been quiet and everything is durable, progress shows
  // `drained`.
  virtual void drain() = 0;
  // Ends the stream at once; on_end follows. What was received whole is made durable first.
  virtual void stop() = 0;
  virtual database_progress progress() const = 0;
};

class restore_stream : public database_stream {
 public:
  // After `drained`: puts the restored image in place on the primary. The answer comes on the stream's
  // thread, exactly once: what the agent did, or why not; after it the stream ends. It takes as long as the
  // primary's disk does: on_work says that it goes on.
  virtual void adopt(const v1::AdoptImage& request,
                     std::function<void(const absl::StatusOr<v1::Adopted>&)> on_answer) = 0;
};

// PrimaryAgent.ReplicateDatabase: the agent's database `catalog` into `sink`, which nobody else uses
// meanwhile.
std::unique_ptr<database_stream> start_database_replication(std::shared_ptr<grpc::ChannelInterface> channel,
                                                            std::string catalog,
                                                            std::shared_ptr<database_sink> sink,
                                                            stream_callbacks callbacks);

// PrimaryAgent.RestoreDatabase: `source` into an image beside the agent's database `catalog`, which belongs
// at `path` if the agent does not know it any more.
std::unique_ptr<restore_stream> start_database_restore(std::shared_ptr<grpc::ChannelInterface> channel,
                                                       std::string catalog, std::uint64_t epoch,
                                                       std::shared_ptr<database_source> source,
                                                       stream_callbacks callbacks, std::string path = {});

}  // namespace understudy::channel
