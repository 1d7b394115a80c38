#pragma once

// Drives a source_session over a stream: the calling thread sends, one more receives. A commit leaves as soon
// as the capture says that it is there. A receiver that does not read holds up the sending thread and nothing
// else.

#include <atomic>
#include <deque>
#include <functional>
#include <memory>

#include "absl/status/status.h"
#include "common/channel/healed_heap.hpp"
#include "common/channel/message_stream.hpp"
#include "common/channel/progress_board.hpp"
#include "common/channel/source_session.hpp"
#include "understudy/v1/database.pb.h"

namespace understudy::channel {

using source_stream = message_stream<v1::SourceMessage, v1::SinkMessage>;

class source_runner {
 public:
  // `stream` outlives the runner.
  source_runner(std::shared_ptr<database_source> source, source_stream& stream,
                std::function<void(const database_progress&)> on_progress = {});
  ~source_runner();

  // Works until the stream ends, once. Ok after a planned end, kCancelled after stop().
  absl::Status run();
  // From any thread, also before and after run().
  void drain();
  void stop();
  database_progress progress() const { return board_.latest(); }

 private:
  struct mailbox;
  void receive_all();
  // Sends and handles messages until the stream is at its end.
  absl::Status work();

  std::shared_ptr<database_source> source_;
  source_stream& stream_;
  std::shared_ptr<mailbox> mailbox_;  // shared with the capture's thread
  progress_board board_;
  healed_heap heap_;
  source_session session_;
};

}  // namespace understudy::channel
