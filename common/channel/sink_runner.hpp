#pragma once

// Drives a sink_session over a stream: one thread receives into a bounded queue, the calling thread applies
// all that is there, syncs once and acknowledges, so that commits group while a sync runs. A source that is
// silent for five heartbeats is given up.

#include <functional>
#include <memory>

#include "absl/status/status.h"
#include "common/channel/database_sink.hpp"
#include "common/channel/healed_heap.hpp"
#include "common/channel/message_stream.hpp"
#include "common/channel/progress_board.hpp"
#include "common/channel/sink_session.hpp"
#include "understudy/v1/database.pb.h"

namespace understudy::channel {

using sink_stream = message_stream<v1::SinkMessage, v1::SourceMessage>;

struct sink_runner_options {
  std::chrono::milliseconds silence{5000};  // without a message: the source or the way to it is dead
};

class sink_runner {
 public:
  // `sink` and `stream` outlive the runner; nobody else uses the sink while run() works.
  sink_runner(database_sink& sink, sink_stream& stream,
              std::function<void(const database_progress&)> on_progress = {},
              sink_runner_options options = {});
  ~sink_runner();

  // Works until the stream ends, once; what was received whole is durable then. Ok after a planned end,
  // kCancelled after stop().
  absl::Status run();
  // From any thread, also before and after run().
  void drain();
  void stop();
  database_progress progress() const { return board_.latest(); }

 private:
  struct queue;
  void receive_all();
  absl::Status work();
  // Sends what the session has to say. False: the stream has ended.
  bool send_all();

  sink_stream& stream_;
  sink_runner_options options_;
  std::unique_ptr<queue> queue_;
  progress_board board_;
  healed_heap heap_;
  sink_session session_;
};

}  // namespace understudy::channel
