#pragma once

// The sending end's side of one stream: what to answer to each message, and what to send next. Driven by a
// thread (file_streams.hpp) or by a test; used by one thread at a time. See file_sink_session.hpp for the
// order of messages. A newer session of the same source ends an older one.

#include <chrono>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "agent-primary/files/change_finder.hpp"
#include "agent-primary/files/change_maker.hpp"
#include "agent-primary/files/file_source.hpp"
#include "common/files/files_progress.hpp"
#include "common/files/pace.hpp"

namespace understudy::v1 {
class FilesSinkMessage;
class FilesSourceMessage;
}  // namespace understudy::v1

namespace understudy::files {

class file_source_session {
 public:
  // `ready` is called, on any thread, when next() may have something.
  file_source_session(std::shared_ptr<file_source> source, std::function<void()> ready);
  ~file_source_session();

  // Any failure ends the stream; kAborted asks the peer to begin a new one at once.
  absl::Status receive(v1::FilesSinkMessage&& message);
  // The next message; nothing: call again after `ready`, a receive(), or wait_until().
  absl::StatusOr<std::optional<v1::FilesSourceMessage>> next();
  steady_time wait_until() const;

  const files_progress& progress() const { return progress_; }

 private:
  struct sent {
    std::uint64_t sequence = 0;  // of the last change in the message
    std::size_t bytes = 0;
  };

  absl::Status take_listing(v1::FilesSinkMessage& message);
  absl::Status take_refusal(const v1::FilesSinkMessage& message);
  absl::Status take_durable(std::uint64_t sequence);
  // Opens the base and plans the first comparison. Says in `unavailable_` why it cannot yet.
  void begin();
  // Fails when the base is another directory than at the beginning.
  absl::Status check_base();
  absl::Status look_for_changes(steady_time now);
  void take_found(change_finder::result&& found);
  absl::StatusOr<std::optional<v1::FilesSourceMessage>> next_change(steady_time now);
  std::optional<v1::FilesSourceMessage> next_remark(steady_time now);
  void become_unavailable(std::string reason);
  bool may_send(steady_time now) const;
  bool is_quiet() const;

  std::shared_ptr<file_source> source_;
  std::uint64_t number_ = 0;
  std::shared_ptr<const selection_matcher> matcher_;
  receiver_state receiver_;
  std::string copy_;
  std::string known_root_;  // identity of the base, as the receiver remembers it

  std::unique_ptr<os::directory> root_;
  std::string root_identity_;
  std::unique_ptr<tree_index> index_;
  std::optional<tree_reader> reader_;
  std::optional<change_finder> finder_;
  std::optional<change_maker> maker_;

  pace pace_;
  std::vector<std::pair<entry, std::uint64_t>> cut_uploads_;
  std::deque<operation> operations_;
  std::deque<sent> in_flight_;
  std::size_t in_flight_bytes_ = 0;
  std::set<std::uint64_t> renames_in_flight_;
  std::set<std::string> refused_whole_;  // sent whole after an append or a link of theirs was refused
  std::uint64_t durable_ = 0;

  bool listed_ = false;           // the listing is complete, or there is none
  bool accepts_digests_ = false;  // to be said
  bool rescan_ = true;            // look at everything next
  bool comparing_ = true;         // until the first in_step
  bool held_ = false;
  bool draining_ = false;
  bool drained_ = false;
  epoch_ns drain_asked_at_ = 0;
  epoch_ns scan_began_at_ = 0;
  epoch_ns said_until_ = 0;
  std::string unavailable_;  // why the base cannot be read; empty: it can
  bool unavailable_said_ = false;
  std::chrono::milliseconds retry_delay_;
  steady_time last_sent_;
  steady_time next_rescan_;
  steady_time next_try_;
  steady_time next_progress_;
  steady_time next_in_step_;
  files_progress progress_;
};

}  // namespace understudy::files
