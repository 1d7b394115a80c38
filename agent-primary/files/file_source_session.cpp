#include "agent-primary/files/file_source_session.hpp"

#include <fmt/core.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "common/channel/wire.hpp"
#include "common/files/entry_message.hpp"
#include "common/files/tree_path.hpp"
#include "common/log/log.hpp"
#include "common/status/status_macros.hpp"
#include "common/status/status_text.hpp"
#include "understudy/v1/files.pb.h"

namespace understudy::files {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr std::size_t window_bytes = 32 << 20;       // sent and not acknowledged: what the receiver may hold
constexpr int batch_changes = 512;                   // what one sync of the receiver is shared by
constexpr std::size_t batch_bytes = 3 << 19;         // 1.5 MiB: with one more file under gRPC's 4 MiB
constexpr std::size_t change_overhead = 256;         // bytes, about, of a change without content
constexpr std::size_t largest_listing = 20'000'000;  // entries; more than a tree of ours has
constexpr milliseconds longest_turn{300};            // of work without sending
constexpr std::size_t most_cut_uploads = 64;         // what a receiver may remember
constexpr seconds heartbeat_interval{1};             // files.proto promises it
constexpr milliseconds progress_interval{500};
constexpr seconds in_step_interval{5};  // the receiver remembers it now and then
constexpr milliseconds unavailable_retry{1000};
constexpr milliseconds look_again{2000};   // at what could not be read
constexpr milliseconds held_look{10};      // at what waits for the other half of a rename
constexpr milliseconds first_retry{1000};  // of a refused change
constexpr milliseconds longest_retry{30'000};
constexpr std::uint64_t small_file = 1 << 20;  // bytes
constexpr milliseconds small_retry{500};

epoch_ns wall_now() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

// Survives reboots, unlike device numbers; an unmounted base has another one.
std::string identity_of(int directory) {
  struct ::stat status {};
  struct ::statfs fs {};
  if (::fstat(directory, &status) != 0 || ::fstatfs(directory, &fs) != 0) return {};
  std::uint64_t id = 0;
  static_assert(sizeof fs.f_fsid == sizeof id);
  std::memcpy(&id, &fs.f_fsid, sizeof id);
  return fmt::format("{:x}:{}", id, status.st_ino);
}

std::size_t bytes_of(const v1::FileChange& change) {
  return change_overhead + change.put().content().size() + change.append().content().size();
}

}  // namespace

file_source_session::file_source_session(std::shared_ptr<file_source> source, std::function<void()> ready)
    : source_(std::move(source)),
      number_(source_->dirty().begin_session(std::move(ready))),
      index_(make_memory_index()),
      retry_delay_(first_retry),
      last_sent_(std::chrono::steady_clock::now()),
      next_rescan_(last_sent_ + source_->rescan_interval()) {}

file_source_session::~file_source_session() {
  if (!source_->dirty().is_newest(number_)) return;
  source_->dirty().begin_session({});
  // What is presumed and not confirmed yet is no memory of what was sent.
  if (maker_ && !(finder_ && finder_->is_comparing()))
    source_->keep_memory({.index = std::move(index_), .copy = copy_, .durable = durable_});
}

absl::Status file_source_session::receive(v1::FilesSinkMessage&& message) {
  progress_.last_heard = std::chrono::steady_clock::now();
  if ((matcher_ == nullptr) != (message.message_case() == v1::FilesSinkMessage::kSelection)) {
    return absl::InvalidArgumentError("the selection must come first, and once");
  }
  switch (message.message_case()) {
    case v1::FilesSinkMessage::kSelection: {
      UNDERSTUDY_ASSIGN_OR_RETURN(matcher_, source_->select(from_message(message.selection())));
      return absl::OkStatus();
    }
    case v1::FilesSinkMessage::kListing:
      return take_listing(message);
    case v1::FilesSinkMessage::kDurable:
      return take_durable(message.durable());
    case v1::FilesSinkMessage::kRefusal:
      return take_refusal(message);
    case v1::FilesSinkMessage::kDrain:
      draining_ = message.drain();
      drained_ = false;
      progress_.judged = std::min(progress_.judged, files_progress::verdict::so_far);
      drain_asked_at_ = wall_now();
      rescan_ = true;  // the last word: whatever events said
      return absl::OkStatus();
    case v1::FilesSinkMessage::kHold:
      held_ = message.hold();
      progress_.now =
          held_ ? files_progress::phase::held
                : (comparing_ ? files_progress::phase::comparing : files_progress::phase::streaming);
      return absl::OkStatus();
    case v1::FilesSinkMessage::kDigests: {
      if (!maker_) return absl::InvalidArgumentError("digests: there was no question");
      UNDERSTUDY_RETURN_IF_ERROR(maker_->answer(message.digests()));
      for (operation& o : maker_->take_consequences()) operations_.push_back(std::move(o));
      return absl::OkStatus();
    }
    case v1::FilesSinkMessage::kDivergence:
      progress_.diverged = message.divergence().count();
      progress_.diverged_paths.assign(message.divergence().paths().begin(),
                                      message.divergence().paths().end());
      progress_.judged =
          message.divergence().drained() ? files_progress::verdict::final : files_progress::verdict::so_far;
      return absl::OkStatus();
    case v1::FilesSinkMessage::kLimit:
      pace_.set_limit(message.limit(), std::chrono::steady_clock::now());
      if (maker_) maker_->limit_pieces(pace_.piece_bytes());
      return absl::OkStatus();
    case v1::FilesSinkMessage::kBlocks:
      if (!maker_) return absl::InvalidArgumentError("blocks: there was no question");
      return maker_->take_blocks(message.blocks());
    case v1::FilesSinkMessage::kDirectories:
      if (!finder_) return absl::InvalidArgumentError("directories: there was no question");
      return finder_->take(message.directories());
    case v1::FilesSinkMessage::kEnd:
      return channel::from_wire(message.end());
    case v1::FilesSinkMessage::MESSAGE_NOT_SET:
      break;
  }
  return absl::InvalidArgumentError("a message of an unknown kind");
}

absl::Status file_source_session::take_listing(v1::FilesSinkMessage& message) {
  v1::FileListing& part = *message.mutable_listing();
  if (listed_) return absl::InvalidArgumentError("listing: it was complete");
  for (v1::FileEntry& listed : *part.mutable_entries()) {
    UNDERSTUDY_RETURN_IF_ERROR(receiver_.listing.add(listed));
  }
  if (receiver_.listing.size() > largest_listing)
    return absl::ResourceExhaustedError("listing: too many entries");
  if (!part.complete() && !part.by_digests()) return absl::OkStatus();
  if (part.by_digests() && (receiver_.listing.size() > 0 || part.complete()))
    return absl::InvalidArgumentError("listing: it cannot be one by digests, too");
  listed_ = true;
  receiver_.by_digests = accepts_digests_ = part.by_digests();
  receiver_.listing.finish();
  receiver_.has_files = part.by_digests() ? part.has_files() : receiver_.listing.has_files();
  copy_ = part.copy();
  known_root_ = part.memory().root();
  for (const v1::FileUpload& upload : part.uploads()) {
    UNDERSTUDY_ASSIGN_OR_RETURN(entry e, from_message(upload.entry(), false));
    if (cut_uploads_.size() < most_cut_uploads) cut_uploads_.emplace_back(std::move(e), upload.have());
  }
  receiver_.in_step_until = from_message(part.memory().in_step_until());
  receiver_.compared = {.owners = !part.owners_ignored(), .extended_attributes = !part.xattrs_ignored()};
  file_source::memory known = source_->take_memory();
  if (known.index != nullptr && !copy_.empty() && known.copy == copy_) {
    if (receiver_.by_digests) {
      index_ = std::move(known.index);
      index_->begin_anew(known.durable);
    } else {
      receiver_.previous = std::move(known.index);
      receiver_.previous_durable = known.durable;
    }
  }
  return absl::OkStatus();
}

absl::Status file_source_session::take_durable(std::uint64_t sequence) {
  if (!maker_ || sequence > maker_->last_sequence() || sequence < durable_) {
    return absl::InvalidArgumentError("durable: a sequence that was not sent");
  }
  durable_ = sequence;
  progress_.durable = sequence;
  while (!in_flight_.empty() && in_flight_.front().sequence <= sequence) {
    in_flight_bytes_ -= in_flight_.front().bytes;
    in_flight_.pop_front();
  }
  renames_in_flight_.erase(renames_in_flight_.begin(), renames_in_flight_.upper_bound(sequence));
  return absl::OkStatus();
}

absl::Status file_source_session::take_refusal(const v1::FilesSinkMessage& message) {
  const v1::FileRefusal& refusal = message.refusal();
  const std::string& path = refusal.path();
  ++progress_.refused;
  progress_.reason = refusal.reason();
  log::warning("files", "{}: the receiver refused it: {}", printable(path), refusal.reason());
  if (renames_in_flight_.contains(refusal.sequence())) {
    return absl::AbortedError("a rename was refused: the copy is not as expected, compare anew");
  }
  if (path == base_path || !check_path(path).ok()) return absl::OkStatus();
  bool whole = false;
  std::uint64_t known_size = 0;
  if (const std::optional<index_record> known = index_->find(path)) {
    index_record unknown = *known;
    known_size = unknown.size;
    whole = unknown.kind == entry_kind::regular && unknown.same && unknown.content.has_value();
    unknown.same = false;
    index_->put(path, unknown);
  } else {
    index_record unknown;  // a removal: it is still there
    index_->put(path, unknown);
  }
  if (refusal.retry()) {
    // A disk that was full is tried often with what costs little.
    const bool small = known_size <= small_file;
    source_->dirty().mark(path, true, true, small ? small_retry : retry_delay_);
    if (!small) retry_delay_ = std::min(retry_delay_ * 2, longest_retry);
  } else if (whole && refused_whole_.insert(path).second) {
    // An append or a link that does not fit: the whole file does. A whole file that was refused waits for the
    // next comparison or its next change.
    source_->dirty().mark(path, true, false, milliseconds{0});
  }
  return absl::OkStatus();
}

void file_source_session::become_unavailable(std::string reason) {
  if (unavailable_ != reason) unavailable_said_ = false;
  unavailable_ = std::move(reason);
  rescan_ = true;
  next_try_ = std::chrono::steady_clock::now() + unavailable_retry;
  progress_.now = files_progress::phase::unavailable;
  progress_.reason = unavailable_;
}

void file_source_session::begin() {
  auto root = os::posix_file_system().open_root(source_->root());
  if (!root.ok()) return become_unavailable(std::string(message_of(root.status())));
  root_ = *std::move(root);
  root_identity_ = identity_of(root_->descriptor());
  reader_.emplace(*root_, *matcher_, receiver_.compared.extended_attributes);
  reader_->on_special([this](const std::string& path, mode_t mode) { source_->leave_out(path, mode); });
  if (!known_root_.empty() && known_root_ != root_identity_ && receiver_.has_files) {
    bool empty = true;
    const auto look = [&](observation&& found) {
      empty = found.what.kind == entry_kind::directory;
      return empty;
    };
    reader_->walk("", look, [](const std::string&, const absl::Status&) {});
    if (empty) {
      return become_unavailable(
          fmt::format("{}: another directory lies there now, and it is empty: is its filesystem mounted? "
                      "Nothing is deleted on "
                      "the copy. If it is meant to be empty, put a file into it",
                      source_->root()));
    }
  }
  unavailable_.clear();
  progress_.now = held_ ? files_progress::phase::held : files_progress::phase::comparing;
  finder_.emplace(*root_, *matcher_, *reader_, *index_);
  maker_.emplace(*root_, *reader_, *index_, source_->dirty(), receiver_.compared.extended_attributes);
  for (const auto& [what, have] : cut_uploads_) maker_->add_cut_upload(what, have);
  maker_->limit_pieces(pace_.piece_bytes());
  finder_->set_receiver(std::move(receiver_));
  receiver_ = {};
  rescan_ = true;
}

absl::Status file_source_session::check_base() {
  struct ::stat held {};
  struct ::stat found {};
  if (::stat(source_->root().c_str(), &found) != 0) {
    become_unavailable(fmt::format("{}: {}", source_->root(), std::strerror(errno)));
    return absl::OkStatus();
  }
  if (::fstat(root_->descriptor(), &held) != 0 || held.st_dev != found.st_dev ||
      held.st_ino != found.st_ino) {
    return absl::AbortedError(
        fmt::format("{}: another directory lies there now, compare anew", source_->root()));
  }
  unavailable_.clear();
  return absl::OkStatus();
}

absl::Status file_source_session::look_for_changes(steady_time now) {
  if (now >= next_rescan_) rescan_ = true;
  dirty_set& dirty = source_->dirty();
  if (!rescan_) {
    const std::optional<steady_time> due = dirty.next_due();
    if (!due || *due > now) return absl::OkStatus();
  }
  const epoch_ns began = wall_now();
  dirty_work work = dirty.take(number_, now);
  work.everything = work.everything || rescan_;
  if (work.everything) {
    UNDERSTUDY_RETURN_IF_ERROR(check_base());
    if (!unavailable_.empty()) return absl::OkStatus();
    rescan_ = false;
    scan_began_at_ = began;
    next_rescan_ = now + source_->rescan_interval();
  }
  change_finder::result found = finder_->find(work, maker_->next_sequence());
  take_found(std::move(found));
  return absl::OkStatus();
}

void file_source_session::take_found(change_finder::result&& found) {
  dirty_set& dirty = source_->dirty();
  operations_ = std::move(found.operations);
  for (const std::string& path : found.retry) dirty.mark(path, false, true, look_again);
  for (const std::string& path : found.held) dirty.mark(path, true, false, held_look);
  if (!found.unavailable.empty()) become_unavailable(std::move(found.unavailable));
  if (comparing_) {
    progress_.files_total += operations_.size();
    log::debug("files", "{}: {} differences", source_->root(), operations_.size());
  }
}

bool file_source_session::may_send(steady_time now) const {
  return maker_ && !held_ && !maker_->wants_blocks() && !maker_->awaits_blocks() &&
         in_flight_bytes_ < window_bytes && in_flight_.size() < 4096 && pace_.may_send(now);
}

absl::StatusOr<std::optional<v1::FilesSourceMessage>> file_source_session::next_change(steady_time now) {
  v1::FilesSourceMessage message;
  v1::FileBatch batch;
  std::size_t bytes = 0;
  int counted = 0;
  const auto count = [&](std::size_t added) {
    progress_.bytes_done += added;
    pace_.sent(added);
  };
  if (maker_->is_uploading()) {
    v1::FileChunk& chunk = *message.mutable_chunk();
    // Not in the window, for what acknowledges it comes only with the whole file: a receiver that is slow
    // does not read, and so holds up the sending.
    if (maker_->next_chunk(chunk, batch)) {
      count(chunk.content().size() + change_overhead);
      return std::optional(std::move(message));
    }
    if (batch.changes_size() == 0) return std::optional(std::move(message));  // abandons the upload
    message.Clear();
  }
  // Not while the receiver is asked what it has: what is not known yet would be sent.
  if (operations_.empty() && batch.changes_size() == 0 && !maker_->awaits_answers() &&
      (unavailable_.empty() || now >= next_try_)) {
    if (finder_->has_all_answers()) {
      take_found(finder_->end_comparison());
    } else if (!finder_->is_comparing()) {
      UNDERSTUDY_RETURN_IF_ERROR(look_for_changes(now));
    }
  }
  for (;;) {
    std::deque<operation> more = maker_->take_consequences();
    operations_.insert(operations_.begin(), std::make_move_iterator(more.begin()),
                       std::make_move_iterator(more.end()));
    for (; counted < batch.changes_size(); ++counted) bytes += bytes_of(batch.changes(counted));
    if (operations_.empty() || maker_->is_uploading() || batch.changes_size() >= batch_changes ||
        bytes >= batch_bytes || std::chrono::steady_clock::now() - now > longest_turn) {
      break;
    }
    operation next = std::move(operations_.front());
    operations_.pop_front();
    if (next.what == operation::kind::rename) renames_in_flight_.insert(maker_->next_sequence());
    maker_->make(std::move(next), batch);
    ++progress_.files_done;
  }
  if (batch.changes_size() == 0) return std::optional<v1::FilesSourceMessage>{};
  in_flight_.push_back({.sequence = maker_->last_sequence(), .bytes = bytes});
  in_flight_bytes_ += bytes;
  count(bytes);
  *message.mutable_batch() = std::move(batch);
  return std::optional(std::move(message));
}

bool file_source_session::is_quiet() const {
  return maker_ && !finder_->is_comparing() && operations_.empty() && !maker_->is_uploading() &&
         !maker_->has_questions() && !maker_->awaits_answers() && durable_ == maker_->last_sequence() &&
         !rescan_ && unavailable_.empty();
}

std::optional<v1::FilesSourceMessage> file_source_session::next_remark(steady_time now) {
  v1::FilesSourceMessage message;
  if (!unavailable_.empty() && !unavailable_said_) {
    unavailable_said_ = true;
    message.set_unavailable(unavailable_);
    return message;
  }
  if (is_quiet() && !held_) {
    // In this order: what came into the set after the moment was read may be newer than the moment.
    const epoch_ns complete = source_->is_watching() ? source_->dirty().complete_until() : scan_began_at_;
    const bool nothing_known = source_->dirty().empty();
    if (draining_ && !drained_ && nothing_known && scan_began_at_ >= drain_asked_at_) {
      drained_ = true;
      progress_.now = files_progress::phase::drained;
      message.set_drained(durable_);
      return message;
    }
    const epoch_ns until = nothing_known ? std::max(complete, scan_began_at_) : scan_began_at_;
    if (comparing_ || (now >= next_in_step_ && until > said_until_)) {
      comparing_ = false;
      if (!drained_) progress_.now = files_progress::phase::streaming;
      retry_delay_ = first_retry;
      next_in_step_ = now + in_step_interval;
      said_until_ = until;
      progress_.entries = index_->size();
      v1::FilesInStep& in_step = *message.mutable_in_step();
      in_step.set_sequence(durable_);
      in_step.set_entries(index_->size());
      to_message(until, *in_step.mutable_memory()->mutable_in_step_until());
      in_step.mutable_memory()->set_root(root_identity_);
      return message;
    }
  }
  if (comparing_ && maker_ && now >= next_progress_) {
    next_progress_ = now + progress_interval;
    v1::FilesProgress& progress = *message.mutable_progress();
    progress.set_files_done(progress_.files_done);
    progress.set_files_total(progress_.files_total);
    progress.set_bytes_done(progress_.bytes_done);
    progress.set_bytes_total(progress_.bytes_total);
    return message;
  }
  // Not before the receiver has said what it has: the first message tells whether its offer is taken up.
  if (listed_ && now - last_sent_ >= heartbeat_interval) {
    to_message(wall_now(), *message.mutable_heartbeat());
    return message;
  }
  return std::nullopt;
}

absl::StatusOr<std::optional<v1::FilesSourceMessage>> file_source_session::next() {
  if (!source_->dirty().is_newest(number_))
    return absl::AbortedError("a newer stream of the same tree has begun");
  const steady_time now = std::chrono::steady_clock::now();
  if (std::exchange(accepts_digests_, false)) {
    v1::FilesSourceMessage message;
    message.mutable_directories_question();  // empty: the receiver may begin to read its tree
    last_sent_ = now;
    return std::optional(std::move(message));
  }
  if (listed_ && !maker_ && now >= next_try_) begin();
  if (finder_ && finder_->has_questions()) {
    v1::FilesSourceMessage message;
    finder_->ask(*message.mutable_directories_question());
    last_sent_ = now;
    return std::optional(std::move(message));
  }
  if (maker_ && maker_->wants_blocks()) {
    v1::FilesSourceMessage message;
    maker_->ask_blocks(*message.mutable_blocks_question());
    last_sent_ = now;
    return std::optional(std::move(message));
  }
  if (maker_ && maker_->has_questions()) {
    v1::FilesSourceMessage message;
    maker_->take_questions(*message.mutable_question());
    last_sent_ = now;
    return std::optional(std::move(message));
  }
  if (may_send(now)) {
    UNDERSTUDY_ASSIGN_OR_RETURN(std::optional<v1::FilesSourceMessage> message, next_change(now));
    if (message) {
      last_sent_ = now;
      return message;
    }
  }
  std::optional<v1::FilesSourceMessage> remark = next_remark(now);
  if (remark) last_sent_ = now;
  return remark;
}

steady_time file_source_session::wait_until() const {
  steady_time until = last_sent_ + heartbeat_interval;
  const steady_time now = std::chrono::steady_clock::now();
  if (accepts_digests_ || (finder_ && finder_->has_questions())) return steady_time::min();
  if (finder_ && finder_->has_all_answers() && may_send(now)) return steady_time::min();
  if (maker_ && maker_->wants_blocks()) return steady_time::min();
  if (finder_ && finder_->is_comparing()) return until;
  if (maker_ && !pace_.may_send(now)) return std::min(until, pace_.next_at());
  if (!maker_ || !may_send(now)) return until;
  if (!operations_.empty() || maker_->is_uploading() || maker_->has_questions()) return steady_time::min();
  if (maker_->awaits_answers()) return until;
  if (!unavailable_.empty()) return std::min(until, next_try_);
  if (rescan_) return steady_time::min();
  if (const std::optional<steady_time> due = source_->dirty().next_due()) until = std::min(until, *due);
  if (draining_ && !drained_) until = std::min(until, now + milliseconds{20});
  return until;
}

}  // namespace understudy::files
