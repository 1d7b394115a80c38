#pragma once

// The receiving end's side of one stream: what to answer to each message. Driven by a thread that receives
// (file_streams.hpp), or by a test; used by one thread at a time.
//
//   sink -> source   selection, listing...            at the start; or, where both ends know of it:
//   sink -> source   selection, listing by_digests    then the source asks for directories that differ
//   source -> sink   directories_question             sink: directories
//   source -> sink   chunks and batches               applied together when nothing more is waiting: flush()
//   sink -> source   refusals, then durable           an acknowledgement is durable
//   source -> sink   question                         sink: digests
//   source -> sink   in_step                          remembered once its sequence is durable

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "agent-failover/replica/tree/directory_answers.hpp"
#include "agent-failover/replica/tree/tree_sink.hpp"
#include "common/files/files_progress.hpp"

namespace understudy::v1 {
class FileDirectoriesQuestion;
class FileListing;
class FilesSinkMessage;
class FilesSourceMessage;
}  // namespace understudy::v1

namespace understudy::files {

class file_sink_session {
 public:
  using send_function = std::function<void(v1::FilesSinkMessage&&)>;
  // `sink` outlives it.
  file_sink_session(tree_sink& sink, send_function send);
  ~file_sink_session();

  // Sends the selection, and the listing or the offer to compare by digests.
  absl::Status start();
  // kInvalidArgument: the peer does not keep to the protocol. After any failure the stream must end.
  absl::Status receive(v1::FilesSourceMessage&& message);
  // Applies what was received, and acknowledges. To be called when no message is waiting.
  absl::Status flush();
  // Asks the source for `drained`.
  void drain();
  // While held, the source sends no changes but goes on watching.
  void hold(bool held);
  // The source sends at most so many bytes per second; 0: as fast as it goes.
  void limit(std::uint64_t bytes_per_second);

  const files_progress& progress() const { return progress_; }

 private:
  absl::Status send_listing();
  void add_memory(v1::FileListing& last);
  // The first message tells whether the source takes up the offer.
  absl::Status take_first(const v1::FilesSourceMessage& message);
  absl::Status answer_directories(const v1::FileDirectoriesQuestion& question);
  absl::Status answer_question(const v1::FilesSourceMessage& message);
  absl::Status answer_blocks(const v1::FilesSourceMessage& message);
  void say_divergence(bool drained);
  absl::Status remember(epoch_ns in_step_until, const std::string& root);

  struct pending;
  tree_sink& sink_;
  send_function send_;
  std::unique_ptr<pending> pending_;
  bool offered_digests_ = false;                // and nothing was heard yet
  std::unique_ptr<directory_answers> answers_;  // until the first change
  std::uint64_t last_sequence_ = 0;
  files_progress progress_;
};

}  // namespace understudy::files
