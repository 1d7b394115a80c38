#pragma once

// The receiving end of one database stream as a state machine over messages: no thread, no socket, no clock.
// Each message is applied as it arrives; commit() makes everything ended so far durable with one sync and
// acknowledges it, so a caller that hands over all it has before it commits groups commits by itself. Used by
// one thread.
//
// The other end counts as hostile: what does not fit together is answered with heal_wanted (it may be a lost
// continuity) or ends the stream (it cannot be), and never costs memory beyond one message.

#include <chrono>
#include <cstdint>
#include <deque>
#include <optional>
#include <span>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/channel/database_progress.hpp"
#include "common/channel/database_sink.hpp"
#include "common/channel/moment.hpp"
#include "understudy/v1/database.pb.h"

namespace understudy::channel {

class sink_session {
 public:
  sink_session(const sink_session&) = delete;
  explicit sink_session(database_sink& sink) : sink_{sink} {}

  // Makes durable what an earlier stream left ended, forgets what it left in part, and says `have`.
  absl::Status start(moment now);
  // Takes a message. Anything but ok ends the stream with that status; then only finish() is left.
  absl::Status receive(const v1::SourceMessage& message, moment now);
  // Whether something was ended that is not durable yet.
  bool wants_commit() const { return ended_ != committed_ || heal_ended_; }
  absl::Status commit(moment now);
  // The stream has ended: makes durable what was ended, forgets the rest.
  absl::Status finish(moment now);
  // The next message to send, in order.
  std::optional<v1::SinkMessage> next();

  // Asks the source for the planned end.
  void drain();
  bool drained() const { return state_ == state::drained; }
  // Whether the status that ended the stream is the other end's own.
  bool told_to_end() const { return told_to_end_; }
  const database_progress& progress() const { return progress_; }

 private:
  enum class state {
    comparing,        // `have` was said: questions, InStep or HealBegin may come
    healing,          // pages of a heal
    streaming,        // transactions
    waiting_restart,  // heal_wanted was said: nothing counts before Restart
    drained,          // nothing will follow
  };

  absl::Status on_status(const v1::SourceStatus& status);
  absl::Status on_question(const v1::HashQuestion& question);
  absl::Status on_heal_begin(const v1::HealBegin& begin);
  absl::Status on_part(const v1::TransactionPart& part);
  absl::Status on_heal_part(const v1::TransactionPart& part);
  absl::Status on_transaction_part(const v1::TransactionPart& part);
  absl::Status on_run(const v1::TransactionRun& run);
  // Whether pages of this transaction are to be taken: it is new, and builds on what is there. May want a
  // heal.
  absl::StatusOr<bool> follows(std::uint64_t transaction, std::uint32_t page_size);
  // Takes pages of a transaction that follows; with `end` its last.
  absl::Status take(std::uint64_t transaction, std::span<const page_image> pages,
                    const v1::TransactionEnd* end);
  absl::Status on_heal_end(const v1::HealEnd& end, moment now);
  absl::Status on_in_step(const v1::InStep& in_step, moment now);
  absl::Status on_drained(const v1::SourceDrained& drained);
  absl::Status on_restart(const v1::Restart& restart, moment now);
  void on_heartbeat(const v1::SourceHeartbeat& heartbeat, moment now);
  void say_have();
  void acknowledge();
  // Continuity is lost: forgets the part and says heal_wanted.
  absl::Status want_heal(const std::string& reason);
  // A database grows by pages that came, and the lock page: no claim about it costs more than they did.
  absl::Status check_size(std::uint32_t pages) const;
  // The status of the sink: continuity lost, or a failure that ends the stream.
  absl::Status judge(const absl::Status& status);

  database_sink& sink_;
  state state_ = state::comparing;
  std::deque<v1::SinkMessage> out_;
  database_progress progress_;

  std::uint64_t ended_ = 0;      // last transaction ended in the sink
  std::uint64_t committed_ = 0;  // last one durable
  bool heal_ended_ = false;      // and not committed
  std::chrono::system_clock::time_point ended_captured_at_;
  std::uint64_t current_ = 0;      // transaction that is being received; 0: none
  std::uint64_t part_bytes_ = 0;   // received of it, or of the heal: pages, each as often as it came
  std::uint64_t bytes_limit_ = 0;  // on that
  std::uint32_t page_size_ = 0;    // of the heal, or of what is streamed
  bool told_to_end_ = false;
  std::uint64_t heals_failed_ = 0;  // in a row
};

}  // namespace understudy::channel
