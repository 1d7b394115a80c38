#include "common/channel/sink_session.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <utility>

#include "common/channel/page_coding.hpp"
#include "common/channel/wire.hpp"
#include "common/status/status_macros.hpp"
#include "common/status/status_text.hpp"

namespace understudy::channel {
namespace {

using phase = database_progress::phase;

constexpr std::uint64_t small_heal_bytes = 4 << 20;  // what a copy's -wal holds before it is folded
constexpr std::uint64_t SLACK =
    4ull << 30;  // bytes by which a transaction or heal may exceed twice the database
constexpr std::uint64_t FAILED_HEALS =
    5;  // in a row: the stream ends, and its owner decides when to try again

absl::Status invalid(std::string text) {
  return absl::InvalidArgumentError(text);
}

std::uint64_t limit_for(std::uint32_t pages, std::uint32_t page_size) {
  return 2 * std::uint64_t{pages} * page_size + SLACK;
}

bool all_below(std::span<const page_image> pages, std::uint64_t limit_bytes) {
  return std::all_of(pages.begin(), pages.end(), [limit_bytes](const page_image& page) {
    return std::uint64_t{page.number} * page.bytes.size() <= limit_bytes;
  });
}

}  // namespace

absl::Status sink_session::start(moment now) {
  progress_.last_heard = now.steady;
  sink_.abandon();
  UNDERSTUDY_RETURN_IF_ERROR(sink_.commit_durably());
  say_have();
  return absl::OkStatus();
}

void sink_session::say_have() {
  const known_image image = sink_.known();
  v1::DatabaseImage& have = *out_.emplace_back().mutable_have();
  have.set_exists(image.exists);
  if (image.exists) {
    have.set_page_size(image.page_size);
    have.set_pages(image.database_pages);
    // Without one it is compared, whatever it is: what was brought in part is not in step before it is ended.
    if (image.kept_pages == 0) to_wire(image.combined, have.mutable_hash());
  }
  state_ = state::comparing;
  progress_.now = phase::comparing;
}

absl::Status sink_session::finish(moment now) {
  const absl::Status status = wants_commit() ? commit(now) : absl::OkStatus();
  sink_.abandon();
  return status;
}

std::optional<v1::SinkMessage> sink_session::next() {
  if (out_.empty()) return std::nullopt;
  v1::SinkMessage message = std::move(out_.front());
  out_.pop_front();
  progress_.sent_bytes += message.ByteSizeLong();
  return message;
}

void sink_session::drain() {
  out_.emplace_back().set_drain(true);
}

absl::Status sink_session::receive(const v1::SourceMessage& message, moment now) {
  progress_.last_heard = now.steady;
  progress_.received_bytes += message.ByteSizeLong();
  if (message.has_restart()) return on_restart(message.restart(), now);
  if (message.has_end()) {
    told_to_end_ = true;
    return from_wire(message.end());
  }
  if (message.has_heartbeat()) {
    on_heartbeat(message.heartbeat(), now);
    return absl::OkStatus();
  }
  if (state_ == state::waiting_restart) return absl::OkStatus();
  switch (message.message_case()) {
    case v1::SourceMessage::kStatus:
      return on_status(message.status());
    case v1::SourceMessage::kQuestion:
      return on_question(message.question());
    case v1::SourceMessage::kHealBegin:
      return on_heal_begin(message.heal_begin());
    case v1::SourceMessage::kPart:
      return on_part(message.part());
    case v1::SourceMessage::kRun:
      return on_run(message.run());
    case v1::SourceMessage::kHealEnd:
      return on_heal_end(message.heal_end(), now);
    case v1::SourceMessage::kInStep:
      return on_in_step(message.in_step(), now);
    case v1::SourceMessage::kDrained:
      return on_drained(message.drained());
    default:
      return absl::OkStatus();  // of a newer version
  }
}

absl::Status sink_session::want_heal(const std::string& reason) {
  sink_.abandon();
  progress_.reason = clean_text(reason);
  progress_.restarts++;
  progress_.now = phase::comparing;
  current_ = 0;
  state_ = state::waiting_restart;
  out_.emplace_back().set_heal_wanted(progress_.reason);
  return absl::OkStatus();
}

absl::Status sink_session::check_size(std::uint32_t pages) const {
  const std::uint64_t present = std::max(sink_.state().database_pages, sink_.known().database_pages);
  const std::uint64_t brought = part_bytes_ / page_size_;
  if (sink_.sparse() || pages <= present + brought + 1) return absl::OkStatus();
  return invalid(fmt::format("{} pages announced, {} present and {} received", pages, present, brought));
}

absl::Status sink_session::judge(const absl::Status& status) {
  if (absl::IsFailedPrecondition(status) || absl::IsDataLoss(status))
    return want_heal(std::string{message_of(status)});
  return status;
}

absl::Status sink_session::on_status(const v1::SourceStatus& status) {
  if (state_ != state::comparing) return invalid("a source status outside the comparison");
  const bool ready = status.phase() == v1::SourceStatus::PHASE_READY;
  progress_.now = ready ? phase::comparing : phase::waiting;
  progress_.absent = status.phase() == v1::SourceStatus::PHASE_ABSENT;
  progress_.refused = status.phase() == v1::SourceStatus::PHASE_REFUSED;
  if (!ready) progress_.reason = clean_text(status.reason());
  progress_.done_bytes = status.scanned_bytes();
  progress_.total_bytes = status.total_bytes();
  return absl::OkStatus();
}

absl::Status sink_session::on_question(const v1::HashQuestion& question) {
  if (state_ != state::comparing) return invalid("a hash question outside the comparison");
  const std::uint32_t block = question.block_pages();
  const std::uint64_t firsts = static_cast<std::uint64_t>(question.first_pages_size());
  if (block > LARGEST_BLOCK || !std::has_single_bit(block) || firsts == 0 || question.blocks_each() == 0 ||
      question.blocks_each() > QUESTION_HASHES || firsts * question.blocks_each() > QUESTION_HASHES) {
    return invalid(
        fmt::format("a question for {} times {} hashes of {} pages", firsts, question.blocks_each(), block));
  }
  v1::HashAnswer& answer = *out_.emplace_back().mutable_answer();
  answer.set_block_pages(block);
  std::string& hashes = *answer.mutable_hashes();
  hashes.reserve(firsts * question.blocks_each() * HASH_BYTES);
  const std::uint32_t pages = sink_.known().database_pages;
  for (const std::uint32_t first : question.first_pages()) {
    if (first == 0 || (first - 1) % block != 0) {
      out_.pop_back();
      return invalid(fmt::format("a question for blocks of {} pages from page {}", block, first));
    }
    std::vector<sqlite::page_hash> mine;
    if (first <= pages) {
      mine = block == 1 ? sink_.hashes(first, question.blocks_each())
                        : sink_.block_hashes(first, block, question.blocks_each());
    }
    mine.resize(question.blocks_each());
    for (const sqlite::page_hash& hash : mine) append_hash(hash.low, hashes);
  }
  return absl::OkStatus();
}

absl::Status sink_session::on_heal_begin(const v1::HealBegin& begin) {
  if (state_ != state::comparing) return invalid("a heal outside the comparison");
  if (!valid_page_size(begin.page_size()))
    return invalid(fmt::format("a heal with page size {}", begin.page_size()));
  const known_image have = sink_.known();
  const bool fresh = !have.exists || have.database_pages == 0 || have.page_size != begin.page_size();
  const bool small = std::uint64_t{begin.pages_to_send()} * begin.page_size() <= small_heal_bytes;
  const bool goes_on = !fresh && have.kept_pages > 0;
  const heal_way way = fresh || goes_on || !small ? heal_way::new_file : heal_way::in_place;
  UNDERSTUDY_RETURN_IF_ERROR(sink_.begin_heal(way, begin.page_size()));
  state_ = state::healing;
  page_size_ = begin.page_size();
  part_bytes_ = 0;
  bytes_limit_ = limit_for(std::max(have.database_pages, begin.database_pages()), page_size_);
  progress_.now = phase::healing;
  progress_.reason = goes_on ? "goes on where it was cut off" : clean_text(begin.reason());
  progress_.done_bytes = goes_on ? std::uint64_t{have.kept_pages} * page_size_ : 0;
  progress_.total_bytes = progress_.done_bytes + std::uint64_t{begin.pages_to_send()} * page_size_;
  return absl::OkStatus();
}

absl::Status sink_session::on_part(const v1::TransactionPart& part) {
  if (state_ == state::healing && part.transaction() == 0) return on_heal_part(part);
  if (state_ == state::streaming && part.transaction() != 0) return on_transaction_part(part);
  return invalid(fmt::format("pages of transaction {} out of order", part.transaction()));
}

absl::Status sink_session::on_heal_part(const v1::TransactionPart& part) {
  if (part.page_size() != page_size_) return invalid("a heal that changes its page size");
  UNDERSTUDY_ASSIGN_OR_RETURN(const auto pages, decode_pages(part));
  const std::uint64_t bytes = pages.size() * page_size_;
  part_bytes_ += bytes;
  if (part_bytes_ > bytes_limit_ || !all_below(pages, bytes_limit_)) {
    return absl::ResourceExhaustedError(fmt::format("a heal brings more than {} bytes", bytes_limit_));
  }
  progress_.done_bytes += bytes;
  progress_.total_bytes = std::max(progress_.total_bytes, progress_.done_bytes);
  return judge(sink_.add_pages(page_size_, pages));
}

absl::StatusOr<bool> sink_session::follows(std::uint64_t transaction, std::uint32_t page_size) {
  if (transaction <= ended_) return false;  // have it already
  if (transaction != ended_ + 1) {
    UNDERSTUDY_RETURN_IF_ERROR(want_heal(fmt::format("transaction {} follows {}", transaction, ended_)));
    return false;
  }
  if (page_size != page_size_) {
    UNDERSTUDY_RETURN_IF_ERROR(want_heal(fmt::format("page size {} after {}", page_size, page_size_)));
    return false;
  }
  return true;
}

absl::Status sink_session::on_transaction_part(const v1::TransactionPart& part) {
  UNDERSTUDY_ASSIGN_OR_RETURN(const bool wanted, follows(part.transaction(), part.page_size()));
  if (!wanted) return absl::OkStatus();
  UNDERSTUDY_ASSIGN_OR_RETURN(const auto pages, decode_pages(part));
  return take(part.transaction(), pages, part.has_end() ? &part.end() : nullptr);
}

absl::Status sink_session::on_run(const v1::TransactionRun& run) {
  const v1::TransactionPart& part = run.part();
  if (state_ != state::streaming || current_ != 0) return invalid("a run of transactions out of order");
  std::uint64_t counted = 0;
  for (const std::uint32_t each : run.pages_each()) counted += each;
  if (part.transaction() == 0 || part.has_end() || run.pages_each_size() != run.ends_size() ||
      counted != static_cast<std::uint64_t>(part.page_numbers_size())) {
    return invalid(fmt::format("a run of {} transactions whose {} pages do not fit together", run.ends_size(),
                               part.page_numbers_size()));
  }
  UNDERSTUDY_ASSIGN_OR_RETURN(const auto decoded, decode_pages(part));
  std::span<const page_image> left = decoded;
  for (int i = 0; i < run.ends_size() && state_ == state::streaming; ++i) {
    const std::uint64_t transaction = part.transaction() + static_cast<std::uint64_t>(i);
    const auto pages = left.first(run.pages_each(i));
    left = left.subspan(pages.size());
    UNDERSTUDY_ASSIGN_OR_RETURN(const bool wanted, follows(transaction, part.page_size()));
    if (wanted) UNDERSTUDY_RETURN_IF_ERROR(take(transaction, pages, &run.ends(i)));
  }
  return absl::OkStatus();
}

absl::Status sink_session::take(std::uint64_t transaction, std::span<const page_image> pages,
                                const v1::TransactionEnd* end) {
  if (current_ == 0) {
    current_ = transaction;
    part_bytes_ = 0;
    bytes_limit_ = limit_for(sink_.state().database_pages, page_size_);
  }
  part_bytes_ += pages.size() * page_size_;
  if (part_bytes_ > bytes_limit_ || !all_below(pages, bytes_limit_))
    return want_heal("a transaction far larger than the database");
  if (const absl::Status status = sink_.add_pages(page_size_, pages); !status.ok()) return judge(status);
  if (end == nullptr) return absl::OkStatus();
  UNDERSTUDY_RETURN_IF_ERROR(check_size(end->database_pages()));
  sink_.captured_at(from_wire(end->captured_at()));
  const absl::Status status = sink_.end_transaction({.number = transaction,
                                                     .page_size = page_size_,
                                                     .database_pages = end->database_pages(),
                                                     .hash_before = from_wire(end->hash_before()),
                                                     .hash_after = from_wire(end->hash_after())});
  if (!status.ok()) return judge(status);
  current_ = 0;
  ended_ = transaction;
  ended_captured_at_ = from_wire(end->captured_at());
  progress_.source_number = std::max(progress_.source_number, ended_);
  return absl::OkStatus();
}

absl::Status sink_session::on_heal_end(const v1::HealEnd& end, moment now) {
  if (state_ != state::healing) return invalid("the end of a heal that did not begin");
  const v1::DatabaseImage& image = end.image();
  if (!image.exists() || image.page_size() != page_size_ || image.pages() == 0 ||
      image.pages() > LARGEST_PAGE_NUMBER) {
    return invalid(
        fmt::format("a heal that leads to {} pages of {} bytes", image.pages(), image.page_size()));
  }
  UNDERSTUDY_RETURN_IF_ERROR(check_size(image.pages()));
  sink_.captured_at(from_wire(end.captured_at()));
  const absl::Status status = sink_.end_heal(image.pages(), from_wire(image.hash()));
  if (!status.ok()) {
    if (++heals_failed_ >= FAILED_HEALS) return status;
    return judge(status);
  }
  heals_failed_ = 0;
  heal_ended_ = true;
  ended_ = end.transaction();
  ended_captured_at_ = from_wire(end.captured_at());
  progress_.heals++;
  progress_.source_number = ended_;
  progress_.now = phase::streaming;
  state_ = state::streaming;
  return commit(now);  // what follows builds on the file that takes its place now
}

absl::Status sink_session::on_in_step(const v1::InStep& in_step, moment) {
  if (state_ != state::comparing) return invalid("in step outside the comparison");
  const sink_state have = sink_.state();
  if (!have.exists) return invalid("in step with nothing");
  UNDERSTUDY_RETURN_IF_ERROR(sink_.found_equal());
  page_size_ = have.page_size;
  ended_ = committed_ = in_step.transaction();
  ended_captured_at_ = {};  // when its last commit was seen nobody says again
  progress_.source_number = ended_;
  progress_.now = phase::streaming;
  state_ = state::streaming;
  acknowledge();
  return absl::OkStatus();
}

absl::Status sink_session::on_drained(const v1::SourceDrained& drained) {
  if (state_ != state::streaming) return invalid("drained outside the stream");
  const sink_state have = sink_.state();
  if (current_ != 0 || drained.transaction() != committed_ ||
      drained.image().pages() != have.database_pages || from_wire(drained.image().hash()) != have.combined) {
    return want_heal("the drained image is not the one that arrived");
  }
  state_ = state::drained;
  progress_.now = phase::drained;
  return absl::OkStatus();
}

absl::Status sink_session::on_restart(const v1::Restart& restart, moment now) {
  if (wants_commit()) UNDERSTUDY_RETURN_IF_ERROR(commit(now));
  sink_.abandon();
  current_ = 0;
  progress_.restarts += state_ == state::waiting_restart ? 0 : 1;
  progress_.reason = clean_text(restart.reason());
  say_have();
  return absl::OkStatus();
}

void sink_session::on_heartbeat(const v1::SourceHeartbeat& heartbeat, moment now) {
  progress_.clock_ahead = from_wire(heartbeat.now()) - now.wall;
  if (state_ != state::streaming && state_ != state::drained) return;
  const std::uint64_t newest = std::max(heartbeat.transaction(), heartbeat.newest());
  progress_.source_number = std::max(progress_.source_number, newest);
  progress_.missing_bytes = heartbeat.unacknowledged_bytes();
  if (newest == committed_) progress_.current_at = from_wire(heartbeat.now());
}

absl::Status sink_session::commit(moment) {
  UNDERSTUDY_RETURN_IF_ERROR(sink_.commit_durably());
  committed_ = ended_;
  heal_ended_ = false;
  acknowledge();
  return absl::OkStatus();
}

void sink_session::acknowledge() {
  progress_.durable = committed_;
  if (progress_.source_number <= committed_) progress_.missing_bytes = 0;
  progress_.durable_captured_at = std::max(progress_.durable_captured_at, ended_captured_at_);
  progress_.current_at = std::max(progress_.current_at, ended_captured_at_);
  v1::Acknowledgement& out = *out_.emplace_back().mutable_acknowledgement();
  out.set_durable(committed_);
  out.set_applied(committed_);
  if (ended_captured_at_ != std::chrono::system_clock::time_point{})
    to_wire(ended_captured_at_, out.mutable_durable_captured_at());
}

}  // namespace understudy::channel
