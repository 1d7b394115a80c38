#pragma once

// Drives a file_source_session over a stream: the calling thread works and sends, one more receives.

#include <functional>
#include <memory>

#include "absl/status/status.h"
#include "agent-primary/files/file_source.hpp"
#include "common/channel/message_stream.hpp"
#include "common/files/stream_mailbox.hpp"
#include "understudy/v1/files.pb.h"

namespace understudy::files {

using file_source_stream = channel::message_stream<v1::FilesSourceMessage, v1::FilesSinkMessage>;

class file_source_runner {
 public:
  // `stream` outlives it.
  file_source_runner(std::shared_ptr<file_source> source, file_source_stream& stream,
                     std::function<void(const files_progress&)> on_progress);

  // Works until the stream ends, once.
  absl::Status run();
  // From any thread. drain() and hold() act as if the receiver had asked.
  void drain() { mailbox_->drain(); }
  void hold(bool held) { mailbox_->hold(held); }
  void stop();
  files_progress progress() const { return board_.latest(); }

 private:
  absl::Status work();

  std::shared_ptr<file_source> source_;
  file_source_stream& stream_;
  std::shared_ptr<stream_mailbox<v1::FilesSinkMessage>> mailbox_;  // shared with the watcher's thread
  files_progress_board board_;
};

}  // namespace understudy::files
