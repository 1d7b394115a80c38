#pragma once

// Drives a file_sink_session over a stream: the calling thread applies and answers, one more receives. What
// has arrived when the last batch is durable is applied together.

#include <functional>

#include "absl/status/status.h"
#include "agent-failover/replica/tree/tree_sink.hpp"
#include "common/channel/message_stream.hpp"
#include "common/files/stream_mailbox.hpp"
#include "understudy/v1/files.pb.h"

namespace understudy::files {

using file_sink_stream = channel::message_stream<v1::FilesSinkMessage, v1::FilesSourceMessage>;

class file_sink_runner {
 public:
  // Both outlive it.
  file_sink_runner(tree_sink& sink, file_sink_stream& stream,
                   std::function<void(const files_progress&)> on_progress);

  // Works until the stream ends, once. What was received whole is made durable first.
  absl::Status run();
  // From any thread.
  void drain() { mailbox_.drain(); }
  void hold(bool held) { mailbox_.hold(held); }
  void stop();
  files_progress progress() const { return board_.latest(); }

 private:
  absl::Status work();

  tree_sink& sink_;
  file_sink_stream& stream_;
  stream_mailbox<v1::FilesSourceMessage> mailbox_;
  files_progress_board board_;
};

}  // namespace understudy::files
