#include "common/channel/source_session.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <span>
#include <utility>

#include "common/channel/wire.hpp"
#include "common/status/status_macros.hpp"
#include "common/status/status_text.hpp"

namespace understudy::channel {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using phase = database_progress::phase;

constexpr milliseconds HEARTBEAT{1000};  // between messages; the receiver gives up after five of them
constexpr milliseconds SOURCE_POLL{50};  // while the source is not ready
// Between two messages with transactions. A busy application's commits then share the cost of a message,
// which is some ten wake-ups in four threads; a commit after a pause leaves at once. Where even so many come,
// that is 8,000 a second, the message waits for more: its cost would be the application's.
constexpr std::chrono::microseconds COLLECT{500};
constexpr std::chrono::microseconds COLLECT_MANY{2000};
constexpr std::chrono::microseconds MANY{125};  // between two transactions
constexpr int RUN_TRANSACTIONS = 1024;          // in one message: those of a batch of 1 KiB pages
constexpr milliseconds LOOK_POLL{2};            // while a drain waits for the source to have looked
constexpr milliseconds REREAD_AFTER{2};         // pages that did not hash as the source says
constexpr seconds STUCK_AFTER{10};        // a heal without a page sent: something is wrong with the source
constexpr milliseconds FIRST_PAUSE{100};  // before a second heal in a row; doubles
constexpr milliseconds LONGEST_PAUSE{10000};
constexpr std::uint32_t LAST_PAGES = 256;  // left to read: from here on captured pages are sent, not marked
constexpr int EVENTS_AT_ONCE = 256;  // marked between two parts, so that a busy source cannot starve them
constexpr std::uint32_t HOLES_AT_ONCE = 16384;              // hashes looked at: 256 KiB
constexpr std::chrono::steady_clock::time_point AT_ONCE{};  // a deadline that has passed

sqlite::page_hash hash_of(const page_image& page) {
  return sqlite::hash_page(page.number, std::as_bytes(std::span{page.bytes}));
}

v1::SourceStatus::Phase wire_phase(source_state::phase now) {
  switch (now) {
    case source_state::phase::absent:
      return v1::SourceStatus::PHASE_ABSENT;
    case source_state::phase::scanning:
      return v1::SourceStatus::PHASE_SCANNING;
    case source_state::phase::ready:
      return v1::SourceStatus::PHASE_READY;
    case source_state::phase::refused:
      return v1::SourceStatus::PHASE_REFUSED;
  }
  return v1::SourceStatus::PHASE_UNSPECIFIED;
}

void set_end(const captured_transaction& transaction, v1::TransactionEnd* out) {
  out->set_database_pages(transaction.database_pages);
  to_wire(transaction.hash_before, out->mutable_hash_before());
  to_wire(transaction.hash_after, out->mutable_hash_after());
  to_wire(transaction.captured_at, out->mutable_captured_at());
}

void set_image(std::uint32_t page_size, std::uint32_t pages, const sqlite::page_hash& hash,
               v1::DatabaseImage* out) {
  out->set_exists(true);
  out->set_page_size(page_size);
  out->set_pages(pages);
  to_wire(hash, out->mutable_hash());
}

}  // namespace

source_session::source_session(database_source& source, source_options options)
    : source_{source}, options_{std::move(options)}, collect_{COLLECT} {}

absl::Status source_session::receive(const v1::SinkMessage& from_sink, moment now) {
  progress_.last_heard = now.steady;
  progress_.received_bytes += from_sink.ByteSizeLong();
  switch (from_sink.message_case()) {
    case v1::SinkMessage::kHave:
      if (state_ != state::waiting_have) return absl::InvalidArgumentError("`have` was not asked for");
      if (from_sink.have().exists() && from_sink.have().pages() > 0 &&
          !valid_page_size(from_sink.have().page_size())) {
        return absl::InvalidArgumentError(
            fmt::format("page size {} in `have`", from_sink.have().page_size()));
      }
      have_ = from_sink.have();
      state_ = state::waiting_source;
      progress_.now = phase::waiting;
      return absl::OkStatus();
    case v1::SinkMessage::kAnswer:
      if (state_ == state::waiting_have) return absl::OkStatus();  // asked before the restart
      if (state_ != state::comparing)
        return absl::InvalidArgumentError("an answer to a question that was not asked");
      return comparison_->receive(from_sink.answer());
    case v1::SinkMessage::kAcknowledgement:
      if (from_sink.acknowledgement().durable() > position_) {
        return absl::InvalidArgumentError("an acknowledgement of what was not sent");
      }
      if (state_ == state::waiting_have) return absl::OkStatus();  // of what was before the restart
      if (state_ == state::streaming && from_sink.acknowledgement().durable() > acknowledged_) failures_ = 0;
      acknowledged(from_sink.acknowledgement().durable());
      progress_.durable = from_sink.acknowledgement().durable();
      if (from_sink.acknowledgement().has_durable_captured_at())
        progress_.durable_captured_at = from_wire(from_sink.acknowledgement().durable_captured_at());
      return absl::OkStatus();
    case v1::SinkMessage::kHealWanted:
      if (state_ != state::waiting_have) restart_wanted_ = clean_text(from_sink.heal_wanted());
      return absl::OkStatus();
    case v1::SinkMessage::kDrain:
      if (from_sink.drain()) drain_wanted_ = true;
      return absl::OkStatus();
    case v1::SinkMessage::kEnd:
      told_to_end_ = true;
      return from_wire(from_sink.end());
    case v1::SinkMessage::MESSAGE_NOT_SET:
      return absl::OkStatus();  // of a newer version
  }
  return absl::OkStatus();
}

void source_session::acknowledged(std::uint64_t transaction) {
  acknowledged_ = transaction;
  while (!unacknowledged_.empty() && unacknowledged_.front().last <= transaction) {
    unacknowledged_bytes_ -= unacknowledged_.front().bytes;
    unacknowledged_.pop_front();
  }
}

void source_session::sent(std::size_t bytes, double seconds_taken) {
  progress_.sent_bytes += bytes;
  gauge_.sent(bytes, seconds_taken);
}

source_session::message_or source_session::next(moment now) {
  // Also between transactions: how far behind they are, nothing else tells.
  const auto beat_at =
      (state_ == state::streaming ? last_heartbeat_ : std::max(last_sent_, last_heartbeat_)) + HEARTBEAT;
  wake_at_ = std::max(beat_at, now.steady + milliseconds{1});
  const bool due = now.steady >= beat_at;
  message result;
  if (due && state_ == state::streaming && !restart_wanted_) {
    result = heartbeat(now);
  } else {
    UNDERSTUDY_ASSIGN_OR_RETURN(result, step(now));
    if (!result && due) result = heartbeat(now);
  }
  if (result) last_sent_ = now.steady;
  return result;
}

source_session::message_or source_session::step(moment now) {
  if (restart_wanted_) return restart(*std::exchange(restart_wanted_, std::nullopt), now);
  switch (state_) {
    case state::waiting_have:
    case state::drained:
      return std::nullopt;
    case state::waiting_source:
      return wait_for_source(now);
    case state::comparing:
      return compare(now);
    case state::healing:
      return heal(now);
    case state::streaming:
      return stream(now);
  }
  return std::nullopt;
}

source_session::message source_session::restart(const std::string& reason, moment now) {
  subscription_.reset();
  held_.reset();
  comparison_.reset();
  outgoing_.reset();
  unacknowledged_.clear();
  unacknowledged_bytes_ = 0;
  to_send_.clear();
  status_sent_.reset();
  heal_reason_ = clean_text(reason);
  progress_.reason = heal_reason_;
  progress_.restarts++;
  progress_.now = phase::comparing;
  if (failures_ > 0) {
    not_before_ =
        now.steady + std::min(LONGEST_PAUSE, FIRST_PAUSE * (1 << std::min<std::uint64_t>(failures_ - 1, 10)));
  }
  ++failures_;
  state_ = state::waiting_have;
  v1::SourceMessage out;
  out.mutable_restart()->set_reason(heal_reason_);
  return out;
}

source_session::message source_session::status_message(const source_state& source) {
  status_sent_ = source.now;
  progress_.reason = source.reason;
  progress_.done_bytes = source.scanned_bytes;
  progress_.total_bytes = source.total_bytes;
  v1::SourceMessage out;
  v1::SourceStatus& status = *out.mutable_status();
  status.set_phase(wire_phase(source.now));
  status.set_reason(clean_text(source.reason));
  status.set_scanned_bytes(source.scanned_bytes);
  status.set_total_bytes(source.total_bytes);
  if (source.now == source_state::phase::ready) {
    set_image(source.page_size, source.database_pages, source.combined, status.mutable_image());
  }
  return out;
}

source_session::message_or source_session::wait_for_source(moment now) {
  if (now.steady < not_before_) {
    wake_at_ = std::min(wake_at_, not_before_);
    return std::nullopt;
  }
  const source_state source = source_.state();
  const bool scanning_on =
      source.now == source_state::phase::scanning && now.steady >= last_status_ + HEARTBEAT;
  if (status_sent_ != source.now || scanning_on) {
    last_status_ = now.steady;
    return status_message(source);
  }
  wake_at_ = std::min(wake_at_, now.steady + SOURCE_POLL);
  if (source.now != source_state::phase::ready || source.database_pages == 0) return std::nullopt;
  auto subscription = source_.subscribe();
  if (!subscription.ok()) return std::nullopt;  // it just stopped being ready: its state will say so
  subscription_ = *std::move(subscription);
  if (options_.wake) subscription_->set_ready_callback(options_.wake);

  const source_state& base = subscription_->base();
  page_size_ = base.page_size;
  pages_ = base.database_pages;
  hash_ = base.combined;
  position_ = base.number;
  floor_ = base.number;
  captured_at_ = now.wall;
  acknowledged_.reset();
  last_progress_ = now.steady;
  progress_.source_number = position_;
  progress_.done_bytes = progress_.total_bytes = 0;
  const bool comparable = have_.exists() && have_.pages() > 0 && have_.page_size() == page_size_;
  if (comparable && have_.pages() == pages_ && from_wire(have_.hash()) == hash_) {
    begin_streaming();
    last_heartbeat_ =
        now.steady - HEARTBEAT;  // one follows at once: it says when they were equal, by our clock
    v1::SourceMessage out;
    out.mutable_in_step()->set_transaction(position_);
    return out;
  }
  if (heal_reason_.empty()) heal_reason_ = comparable ? "the copy differs" : "first copy";
  const std::uint32_t both = comparable ? std::min(have_.pages(), pages_) : 0;
  comparison_.emplace(source_, pages_, both, to_send_);
  if (source_.sparse()) skip_holes(both + 1);
  state_ = state::comparing;
  progress_.now = phase::comparing;
  return compare(now);
}

// What the receiver does not have and need not get.
void source_session::skip_holes(std::uint32_t from) {
  for (std::uint64_t first = from; first <= pages_; first += HOLES_AT_ONCE) {
    const auto hashes = source_.hashes(static_cast<std::uint32_t>(first), HOLES_AT_ONCE);
    for (std::size_t i = 0; i < hashes.size(); ++i) {
      if (hashes[i] == sqlite::page_hash{}) to_send_.erase(static_cast<std::uint32_t>(first + i));
    }
  }
}

source_session::message_or source_session::take_event(bool mark_only, moment now) {
  source_event event = held_ ? *std::exchange(held_, std::nullopt) : subscription_->next(AT_ONCE);
  switch (event.what) {
    case source_event::kind::nothing:
      return std::nullopt;
    case source_event::kind::closed:
      return absl::UnavailableError(fmt::format("the capture stopped: {}", event.reason));
    case source_event::kind::gap:
      return restart(fmt::format("gap: {}", event.reason), now);
    case source_event::kind::transaction:
      break;
  }
  captured_transaction& transaction = event.transaction;
  if (transaction.page_size != page_size_) return restart("the page size changed", now);
  last_progress_ = now.steady;
  progress_.source_number = transaction.number;
  outgoing_ = std::move(transaction);
  outgoing_sent_ = 0;
  if (mark_only) {
    for (const page_image& page : outgoing_->pages) to_send_.insert(page.number);
    outgoing_sent_ = outgoing_->pages.size();
  }
  return std::nullopt;
}

source_session::message_or source_session::compare(moment now) {
  // Bytes captured meanwhile are not kept: their pages are read when the heal comes to them.
  for (int i = 0; i < EVENTS_AT_ONCE; ++i) {
    UNDERSTUDY_ASSIGN_OR_RETURN(message out, take_event(true, now));
    if (out) return out;
    if (!outgoing_) break;
    transaction_part(0);
  }
  if (comparison_->done()) return begin_heal(now);
  if (auto question = comparison_->next_question()) {
    v1::SourceMessage out;
    *out.mutable_question() = *std::move(question);
    return out;
  }
  wake_at_ = std::min(wake_at_, now.steady + SOURCE_POLL);
  return std::nullopt;
}

source_session::message source_session::begin_heal(moment now) {
  // What was compared may be newer than the subscription's position.
  floor_ = std::max(floor_, source_.state().number);
  comparison_.reset();
  state_ = state::healing;
  last_progress_ = now.steady;
  progress_.now = phase::healing;
  progress_.reason = heal_reason_;
  progress_.done_bytes = 0;
  progress_.total_bytes = std::uint64_t{to_send_.size()} * page_size_;
  v1::SourceMessage out;
  v1::HealBegin& begin = *out.mutable_heal_begin();
  begin.set_reason(heal_reason_);
  begin.set_page_size(page_size_);
  begin.set_database_pages(pages_);
  begin.set_pages_to_send(to_send_.size());
  return out;
}

source_session::message_or source_session::heal(moment now) {
  if (outgoing_) {
    if (message part = transaction_part(0)) return part;
  }
  for (int i = 0; i < EVENTS_AT_ONCE; ++i) {
    // Few left: a page captured now would be read again and again, while sending it brings the end nearer.
    const bool mark_only = to_send_.size() > LAST_PAGES;
    if (!mark_only && to_send_.empty() && position_ >= floor_) return end_heal();
    UNDERSTUDY_ASSIGN_OR_RETURN(message out, take_event(mark_only, now));
    if (out) return out;
    if (!outgoing_) break;
    if (message part = transaction_part(0)) return part;
  }
  if (!to_send_.empty()) {
    if (message part = read_part(now)) return part;
    wake_at_ = std::min(wake_at_, now.steady + REREAD_AFTER);
  }
  if (to_send_.empty() && position_ >= floor_) return end_heal();
  if (now.steady > last_progress_ + STUCK_AFTER) {
    return restart(fmt::format("{} pages of the source could not be read as captured", to_send_.size()), now);
  }
  return std::nullopt;
}

source_session::message source_session::read_part(moment now) {
  v1::SourceMessage out;
  v1::TransactionPart& part = *out.mutable_part();
  const std::size_t room = std::max<std::size_t>(1, PART_BYTES / page_size_);
  part.set_page_size(page_size_);
  std::string& bytes = *part.mutable_pages();
  bytes.reserve(std::min<std::size_t>(room, to_send_.size()) * page_size_);
  for (std::uint32_t tries = to_send_.size(); tries > 0 && bytes.size() < room * page_size_; --tries) {
    const std::uint32_t number = to_send_.next();
    const auto page = source_.read_page(number);
    const auto expected = source_.hashes(number, 1);
    // Past the end now, never stored (the lock page), or as the source says: otherwise it is read again, or
    // the transaction that wrote it arrives.
    const bool hole = !expected.empty() && expected[0] == sqlite::page_hash{};
    const bool zeros = hole && source_.sparse();  // the receiver may have something else there
    const bool gone = expected.empty() || (hole && !zeros);
    if (!gone && !zeros && (!page.ok() || page->bytes.size() != page_size_ || hash_of(*page) != expected[0]))
      continue;
    to_send_.erase(number);
    if (gone) continue;
    part.add_page_numbers(number);
    if (zeros) {
      bytes.append(page_size_, '\0');
    } else {
      bytes += page->bytes;
    }
  }
  floor_ = std::max(floor_, source_.state().number);
  if (part.page_numbers().empty()) return std::nullopt;
  last_progress_ = now.steady;
  finish_part(part);
  return out;
}

void source_session::finish_part(v1::TransactionPart& part) {
  progress_.done_bytes += part.pages().size();
  progress_.total_bytes =
      std::max(progress_.total_bytes, progress_.done_bytes + std::uint64_t{to_send_.size()} * page_size_);
  part.set_encoding(v1::TransactionPart::ENCODING_PLAIN);
  if (!options_.compress) return;
  if (gauge_.sample_due()) gauge_.measure(part.pages());
  if (gauge_.pays()) compress(part);
}

source_session::message source_session::transaction_part(std::uint64_t number) {
  captured_transaction& transaction = *outgoing_;
  v1::SourceMessage out;
  v1::TransactionPart& part = *out.mutable_part();
  part.set_transaction(number);
  part.set_page_size(page_size_);
  const std::size_t room = std::max<std::size_t>(1, PART_BYTES / page_size_);
  const std::size_t end = std::min(transaction.pages.size(), outgoing_sent_ + room);
  std::string& bytes = *part.mutable_pages();
  bytes.reserve((end - outgoing_sent_) * page_size_);
  for (; outgoing_sent_ < end; ++outgoing_sent_) {
    const page_image& page = transaction.pages[outgoing_sent_];
    part.add_page_numbers(page.number);
    bytes += page.bytes;
    to_send_.erase(page.number);
  }
  if (outgoing_sent_ == transaction.pages.size()) {
    if (number != 0) {
      set_end(transaction, part.mutable_end());
      const std::uint64_t size = transaction.pages.size() * std::uint64_t{page_size_};
      unacknowledged_.push_back({.last = number, .bytes = size});
      unacknowledged_bytes_ += size;
    }
    contain(transaction);
    outgoing_.reset();
  }
  if (number == 0 && part.page_numbers().empty()) return std::nullopt;
  finish_part(part);
  return out;
}

void source_session::contain(const captured_transaction& transaction) {
  position_ = transaction.number;
  pages_ = transaction.database_pages;
  hash_ = transaction.hash_after;
  captured_at_ = transaction.captured_at;
}

source_session::message source_session::take_run(moment now) {
  v1::SourceMessage out;
  v1::TransactionRun& run = *out.mutable_run();
  v1::TransactionPart& part = *run.mutable_part();
  std::string& bytes = *part.mutable_pages();
  bool full = false;
  while (!full && run.ends_size() < RUN_TRANSACTIONS) {
    if (!held_) held_ = subscription_->next(AT_ONCE);
    if (held_->what != source_event::kind::transaction) break;
    captured_transaction& transaction = held_->transaction;
    full = bytes.size() + transaction.pages.size() * page_size_ > PART_BYTES;
    if (full || transaction.page_size != page_size_) break;
    if (run.ends_size() == 0) part.set_transaction(transaction.number);
    for (page_image& page : transaction.pages) {
      part.add_page_numbers(page.number);
      if (bytes.empty()) {
        bytes = std::move(page.bytes);
      } else {
        bytes += page.bytes;
      }
    }
    run.add_pages_each(static_cast<std::uint32_t>(transaction.pages.size()));
    set_end(transaction, run.add_ends());
    contain(transaction);
    held_.reset();
  }
  if (held_ && held_->what == source_event::kind::nothing) held_.reset();
  if (run.ends_size() == 0) return std::nullopt;
  collect_ = run.ends_size() * MANY >= collect_ ? COLLECT_MANY : COLLECT;
  if (!full) next_run_ = now.steady + collect_;
  unacknowledged_.push_back({.last = position_, .bytes = bytes.size()});
  unacknowledged_bytes_ += bytes.size();
  progress_.source_number = position_;
  part.set_page_size(page_size_);
  finish_part(part);
  if (run.ends_size() > 1) return out;
  v1::SourceMessage single;
  part.mutable_end()->Swap(run.mutable_ends(0));
  single.mutable_part()->Swap(&part);
  return single;
}

source_session::message source_session::end_heal() {
  v1::SourceMessage out;
  v1::HealEnd& end = *out.mutable_heal_end();
  set_image(page_size_, pages_, hash_, end.mutable_image());
  end.set_transaction(position_);
  to_wire(captured_at_, end.mutable_captured_at());
  progress_.heals++;
  begin_streaming();
  return out;
}

void source_session::begin_streaming() {
  state_ = state::streaming;
  heal_reason_.clear();
  progress_.now = phase::streaming;
}

source_session::message_or source_session::stream(moment now) {
  if (outgoing_) return transaction_part(outgoing_->number);
  if (now.steady < next_run_) {
    wake_at_ = std::min(wake_at_, next_run_);
    return std::nullopt;
  }
  if (message run = take_run(now)) return run;
  UNDERSTUDY_ASSIGN_OR_RETURN(message restarted, take_event(false, now));
  if (restarted) return restarted;
  if (outgoing_) return transaction_part(outgoing_->number);
  if (!drain_wanted_) return std::nullopt;
  // Drained is what a look that began after the question found: the application is down by then, and its last
  // commit seen, whatever woke the capture or did not.
  if (!drain_asked_) drain_asked_ = now.steady;
  if (!source_.looked_since(*drain_asked_)) {
    wake_at_ = std::min(wake_at_, now.steady + LOOK_POLL);
    return std::nullopt;
  }
  const source_state source = source_.state();
  if (source.now != source_state::phase::ready || source.number != position_ || acknowledged_ < position_) {
    wake_at_ = std::min(wake_at_, now.steady + SOURCE_POLL);
    return std::nullopt;
  }
  state_ = state::drained;
  progress_.now = phase::drained;
  v1::SourceMessage out;
  set_image(page_size_, pages_, hash_, out.mutable_drained()->mutable_image());
  out.mutable_drained()->set_transaction(position_);
  return out;
}

source_session::message source_session::heartbeat(moment now) {
  v1::SourceMessage out;
  v1::SourceHeartbeat& beat = *out.mutable_heartbeat();
  last_heartbeat_ = now.steady;
  if (state_ == state::streaming || state_ == state::drained) {
    beat.set_transaction(position_);
    beat.set_newest(std::max(position_, source_.state().number));
    beat.set_unacknowledged_bytes(unacknowledged_bytes_ + subscription_->waiting_bytes());
  }
  to_wire(now.wall, beat.mutable_now());
  return out;
}

}  // namespace understudy::channel
