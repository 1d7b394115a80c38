#pragma once

// The sending end of one database stream as a state machine over messages: no thread, no socket, no clock. It
// is pulled: next() gives the next message when the caller can send one, so that a slow wire holds everything
// back by itself. Used by one thread.
//
//   have -> wait for the source -> equal? in step : compare -> heal -> stream -> drained
//   a gap, or a heal that the receiver wants: Restart, and again from `have`, on the same stream.
//
// Why a heal arrives at a commit boundary while the application goes on writing: the session subscribes at B,
// then compares and reads pages as they are at various later moments, the last of them F. Every page that
// changed between B and the boundary N is sent again, or for the first time, because the subscription names
// it. So when N >= F, every page is the one of N: unchanged since B, or sent with what the subscription
// carried up to N. A page is sent only if its bytes hash to what the source says of it now, for read_page may
// be ahead of the source, or torn.

#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/channel/database_progress.hpp"
#include "common/channel/database_source.hpp"
#include "common/channel/image_comparison.hpp"
#include "common/channel/moment.hpp"
#include "common/channel/page_coding.hpp"
#include "common/channel/page_set.hpp"
#include "understudy/v1/database.pb.h"

namespace understudy::channel {

struct source_options {
  // Called from the capture's thread when next() has something new; must be quick. Copied, so it may outlive
  // the session by a call under way.
  std::function<void()> wake;
  bool compress = true;
};

class source_session {
 public:
  source_session(const source_session&) = delete;
  explicit source_session(database_source& source, source_options options = {});

  // Takes a message of the receiver. Anything but ok ends the stream with that status.
  absl::Status receive(const v1::SinkMessage& from_sink, moment now);
  // The next message to send, nothing if there is none before wake_at(), or the status that ends the stream.
  absl::StatusOr<std::optional<v1::SourceMessage>> next(moment now);
  // Ask next() again at this time, if nothing else happens before.
  std::chrono::steady_clock::time_point wake_at() const { return wake_at_; }
  // Transactions just left, and those that follow may wait for each other until wake_at(): news of the source
  // are no reason to ask before.
  bool collecting(moment now) const {
    return state_ == state::streaming && !outgoing_ && now.steady < next_run_;
  }
  // What a message cost, to judge whether compressing pays.
  void sent(std::size_t bytes, double seconds);

  // Asks for the planned end: SourceDrained once everything that was committed before is sent and durable.
  void drain() { drain_wanted_ = true; }
  bool draining() const { return drain_wanted_; }
  // Whether the status that ended the stream is the other end's own.
  bool told_to_end() const { return told_to_end_; }
  const database_progress& progress() const { return progress_; }

 private:
  enum class state {
    waiting_have,    // for the receiver's image
    waiting_source,  // for the source to be ready, or for a pause after a failed heal to end
    comparing,       // questions are under way
    healing,         // pages travel
    streaming,       // transactions travel
    drained,         // nothing will follow
  };
  using message = std::optional<v1::SourceMessage>;
  using message_or = absl::StatusOr<message>;

  message_or step(moment now);
  message_or wait_for_source(moment now);
  message_or compare(moment now);
  message_or heal(moment now);
  message_or stream(moment now);
  message restart(const std::string& reason, moment now);
  void skip_holes(std::uint32_t from);
  message begin_heal(moment now);
  message end_heal();
  message heartbeat(moment now);
  message status_message(const source_state& source);
  message read_part(moment now);
  // Gives the next part of `outgoing_`, as transaction `number` (0: of a heal).
  message transaction_part(std::uint64_t number);
  // Takes the next event. A message: what is to be sent because of it (a restart). None: `outgoing_` may be
  // set.
  message_or take_event(bool mark_only, moment now);
  // The transactions that wait, as many as one message takes. None: there are none, or the next thing to do
  // is take_event()'s.
  message take_run(moment now);
  void finish_part(v1::TransactionPart& part);
  // Everything up to this transaction was given out to be sent.
  void contain(const captured_transaction& transaction);
  void begin_streaming();
  void acknowledged(std::uint64_t transaction);

  database_source& source_;
  source_options options_;
  state state_ = state::waiting_have;
  database_progress progress_;
  compression_gauge gauge_;

  v1::DatabaseImage have_;
  std::unique_ptr<source_subscription> subscription_;
  std::optional<image_comparison> comparison_;
  page_set to_send_;             // pages that a heal still has to read and send
  std::uint64_t floor_ = 0;      // a heal may not end before this transaction (F above)
  std::uint32_t page_size_ = 0;  // of the subscription's base
  std::uint32_t pages_ = 0;      // at position_
  sqlite::page_hash hash_;       // at position_
  std::uint64_t position_ = 0;   // the last transaction taken from the subscription and sent whole
  std::chrono::system_clock::time_point captured_at_;  // of position_
  std::optional<source_event> held_;                   // taken from the subscription, to be dealt with next
  std::optional<captured_transaction> outgoing_;       // being sent
  std::size_t outgoing_sent_ = 0;                      // of its pages
  std::string heal_reason_;
  std::optional<std::string> restart_wanted_;
  struct sent_transactions {
    std::uint64_t last = 0;
    std::uint64_t bytes = 0;
  };
  std::deque<sent_transactions> unacknowledged_;  // one per message
  std::uint64_t unacknowledged_bytes_ = 0;

  bool drain_wanted_ = false;
  std::optional<std::chrono::steady_clock::time_point> drain_asked_;  // of the source
  std::optional<std::uint64_t> acknowledged_;         // of this subscription; 0 is the first image's number
  std::uint64_t failures_ = 0;                        // restarts since the last acknowledged transaction
  std::chrono::steady_clock::time_point not_before_;  // the next comparison
  std::chrono::steady_clock::time_point last_progress_;  // of a heal
  std::chrono::steady_clock::time_point next_run_;  // not before: what is committed meanwhile goes together
  std::chrono::microseconds collect_;               // between two messages, as the last one was full
  std::chrono::steady_clock::time_point last_sent_;
  std::chrono::steady_clock::time_point last_heartbeat_;
  std::chrono::steady_clock::time_point last_status_;
  std::optional<source_state::phase> status_sent_;
  std::chrono::steady_clock::time_point wake_at_;
  bool told_to_end_ = false;
};

}  // namespace understudy::channel
