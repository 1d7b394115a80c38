#include "agent-failover/replica/tree/file_sink_session.hpp"

#include <fmt/core.h>

#include <utility>

#include "agent-failover/replica/tree/tree_change.hpp"
#include "common/channel/wire.hpp"
#include "common/files/entry_message.hpp"
#include "common/log/log.hpp"
#include "common/status/status_macros.hpp"
#include "understudy/v1/files.pb.h"

namespace understudy::files {
namespace {

constexpr int listing_part = 1000;                   // entries per message: well under gRPC's 4 MiB
constexpr std::size_t listing_bytes = 1 << 20;       // entries with long names or many attributes
constexpr std::size_t most_changes = 1024;           // applied together: what one syncfs is shared by
constexpr std::size_t most_bytes = 16 << 20;         // held in memory before they are applied
constexpr int largest_batch = 4096;                  // changes; an honest sender stays far below
constexpr int largest_question = 1024;               // what files.proto says
constexpr std::uint32_t smallest_block = 64 * 1024;  // bytes; what files.proto says
constexpr std::uint32_t largest_block = 1 << 20;
constexpr std::uint64_t most_blocks =
    200'000;  // 16 bytes each: under gRPC's 4 MiB; a larger file is sent whole
constexpr epoch_ns remember_every = 60'000'000'000;  // 60 s: what is compared by content after a restart

std::chrono::system_clock::time_point to_time_point(epoch_ns time) {
  return std::chrono::system_clock::time_point(
      std::chrono::duration_cast<std::chrono::system_clock::duration>(std::chrono::nanoseconds(time)));
}

}  // namespace

struct file_sink_session::pending {
  std::vector<v1::FileChange> changes;
  std::size_t bytes = 0;
};

file_sink_session::file_sink_session(tree_sink& sink, send_function send)
    : sink_(sink), send_(std::move(send)), pending_(std::make_unique<pending>()) {}

file_sink_session::~file_sink_session() {
  sink_.abandon_uploads();
}

absl::Status file_sink_session::start() {
  v1::FilesSinkMessage first;
  *first.mutable_selection() = to_message(sink_.what());
  send_(std::move(first));
  if (sink_.limit() > 0) limit(sink_.limit());
  if (!sink_.lies_as_told()) return send_listing();
  v1::FilesSinkMessage offer;
  offer.mutable_listing()->set_by_digests(true);
  offer.mutable_listing()->set_has_files(sink_.has_files());
  add_memory(*offer.mutable_listing());
  send_(std::move(offer));
  offered_digests_ = true;
  return absl::OkStatus();
}

absl::Status file_sink_session::send_listing() {
  v1::FilesSinkMessage part;
  std::size_t bytes = 0;
  UNDERSTUDY_RETURN_IF_ERROR(sink_.scan([&](entry&& found) {
    v1::FileEntry& added = *part.mutable_listing()->add_entries();
    to_message(found, added);
    bytes += added.ByteSizeLong();
    if (part.listing().entries_size() < listing_part && bytes < listing_bytes) return;
    send_(std::move(part));
    part = {};
    bytes = 0;
  }));
  v1::FileListing& last = *part.mutable_listing();
  last.set_complete(true);
  add_memory(last);
  send_(std::move(part));
  return absl::OkStatus();
}

void file_sink_session::add_memory(v1::FileListing& last) {
  last.set_copy(sink_.memory().copy);
  to_message(sink_.memory().in_step_until, *last.mutable_memory()->mutable_in_step_until());
  last.mutable_memory()->set_root(sink_.memory().root);
  sink_.uploads([&](const entry& e, std::uint64_t have) {
    v1::FileUpload& upload = *last.add_uploads();
    to_message(e, *upload.mutable_entry());
    upload.set_have(have);
  });
  last.set_owners_ignored(!sink_.owners_kept());
  last.set_xattrs_ignored(!sink_.attributes_kept());
}

absl::Status file_sink_session::take_first(const v1::FilesSourceMessage& message) {
  if (message.message_case() == v1::FilesSourceMessage::kEnd) return absl::OkStatus();
  if (message.message_case() != v1::FilesSourceMessage::kDirectoriesQuestion) return send_listing();
  UNDERSTUDY_ASSIGN_OR_RETURN(answers_, directory_answers::read(sink_));
  return absl::OkStatus();
}

absl::Status file_sink_session::answer_directories(const v1::FileDirectoriesQuestion& question) {
  if (answers_ == nullptr) return absl::InvalidArgumentError("question: only before the first change");
  if (question.directories_size() == 0) return absl::OkStatus();
  return answers_->answer(question, send_);
}

absl::Status file_sink_session::receive(v1::FilesSourceMessage&& message) {
  progress_.last_heard = std::chrono::steady_clock::now();
  if (std::exchange(offered_digests_, false)) UNDERSTUDY_RETURN_IF_ERROR(take_first(message));
  switch (message.message_case()) {
    case v1::FilesSourceMessage::kChunk:
      progress_.bytes_done += message.chunk().content().size();
      return sink_.add_chunk(message.chunk());
    case v1::FilesSourceMessage::kBatch:
      answers_.reset();
      if (message.batch().changes_size() > largest_batch)
        return absl::InvalidArgumentError("batch: too many changes");
      for (v1::FileChange& change : *message.mutable_batch()->mutable_changes()) {
        if (change.sequence() != last_sequence_ + 1)
          return absl::InvalidArgumentError("batch: a change is missing");
        ++last_sequence_;
        pending_->bytes += change.ByteSizeLong();
        pending_->changes.push_back(std::move(change));
      }
      if (pending_->changes.size() >= most_changes || pending_->bytes >= most_bytes) return flush();
      return absl::OkStatus();
    case v1::FilesSourceMessage::kInStep: {
      answers_.reset();
      UNDERSTUDY_RETURN_IF_ERROR(flush());
      if (message.in_step().sequence() > last_sequence_)
        return absl::InvalidArgumentError("in_step: unknown sequence");
      // Whoever asked for the drain may look only now.
      if (progress_.now != files_progress::phase::drained) progress_.now = files_progress::phase::streaming;
      progress_.entries = message.in_step().entries();
      const v1::FilesMemory& memory = message.in_step().memory();
      say_divergence(false);
      return remember(from_message(memory.in_step_until()), memory.root());
    }
    case v1::FilesSourceMessage::kProgress:
      progress_.now = files_progress::phase::comparing;
      progress_.files_done = message.progress().files_done();
      progress_.files_total = message.progress().files_total();
      progress_.bytes_done = message.progress().bytes_done();
      progress_.bytes_total = message.progress().bytes_total();
      return absl::OkStatus();
    case v1::FilesSourceMessage::kUnavailable:
      progress_.now = files_progress::phase::unavailable;
      progress_.reason = message.unavailable();
      return absl::OkStatus();
    case v1::FilesSourceMessage::kHeartbeat:
      return absl::OkStatus();
    case v1::FilesSourceMessage::kDrained:
      UNDERSTUDY_RETURN_IF_ERROR(flush());
      if (message.drained() > last_sequence_) return absl::InvalidArgumentError("drained: unknown sequence");
      progress_.now = files_progress::phase::drained;
      say_divergence(true);
      return absl::OkStatus();
    case v1::FilesSourceMessage::kQuestion:
      return answer_question(message);
    case v1::FilesSourceMessage::kDirectoriesQuestion:
      return answer_directories(message.directories_question());
    case v1::FilesSourceMessage::kBlocksQuestion:
      return answer_blocks(message);
    case v1::FilesSourceMessage::kEnd:
      return channel::from_wire(message.end());
    case v1::FilesSourceMessage::MESSAGE_NOT_SET:
      break;
  }
  return absl::InvalidArgumentError("a message of an unknown kind");
}

absl::Status file_sink_session::flush() {
  if (pending_->changes.empty()) return absl::OkStatus();
  std::vector<v1::FileRefusal> refusals;
  UNDERSTUDY_RETURN_IF_ERROR(sink_.apply(pending_->changes, refusals));
  pending_->changes.clear();
  pending_->bytes = 0;
  for (v1::FileRefusal& refusal : refusals) {
    ++progress_.refused;
    progress_.reason = refusal.reason();
    v1::FilesSinkMessage answer;
    *answer.mutable_refusal() = std::move(refusal);
    send_(std::move(answer));
  }
  progress_.durable = last_sequence_;
  v1::FilesSinkMessage acknowledgement;
  acknowledgement.set_durable(last_sequence_);
  send_(std::move(acknowledgement));
  return absl::OkStatus();
}

absl::Status file_sink_session::answer_question(const v1::FilesSourceMessage& message) {
  UNDERSTUDY_RETURN_IF_ERROR(flush());
  if (message.question().paths_size() > largest_question)
    return absl::InvalidArgumentError("question: too many paths");
  v1::FilesSinkMessage answer;
  for (const std::string& path : message.question().paths()) {
    const std::optional<digest> content = sink_.digest_of(path);
    answer.mutable_digests()->add_digests(content ? to_bytes(*content) : std::string{});
  }
  send_(std::move(answer));
  return absl::OkStatus();
}

absl::Status file_sink_session::answer_blocks(const v1::FilesSourceMessage& message) {
  UNDERSTUDY_RETURN_IF_ERROR(flush());
  const std::uint32_t block_bytes = message.blocks_question().block_bytes();
  if (block_bytes < smallest_block || block_bytes > largest_block)
    return absl::InvalidArgumentError("blocks: a size that makes no sense");
  v1::FilesSinkMessage answer;
  v1::FileBlocks& blocks = *answer.mutable_blocks();
  if (const auto file = sink_.open_present(message.blocks_question().path()); file.ok()) {
    const auto status = (*file)->status();
    const bool fits = status.ok() && S_ISREG(status->st_mode) &&
                      static_cast<std::uint64_t>(status->st_size) / block_bytes < most_blocks;
    if (fits) {
      if (auto hashes = block_hashes(**file, block_bytes); hashes.ok()) blocks.set_hashes(*std::move(hashes));
    }
  }
  send_(std::move(answer));
  return absl::OkStatus();
}

void file_sink_session::say_divergence(bool drained) {
  const std::optional<divergence> found = sink_.diverged();
  if (!found) return;
  v1::FilesSinkMessage message;
  v1::FilesDivergence& said = *message.mutable_divergence();
  said.set_count(found->count);
  for (const std::string& path : found->paths) said.add_paths(path);
  said.set_drained(drained);
  send_(std::move(message));
}

absl::Status file_sink_session::remember(epoch_ns in_step_until, const std::string& root) {
  progress_.current_at = to_time_point(in_step_until);
  sink_.in_step(in_step_until);
  const sink_memory& known = sink_.memory();
  if (root == known.root && in_step_until - known.in_step_until < remember_every &&
      in_step_until >= known.in_step_until && progress_.now != files_progress::phase::comparing) {
    return absl::OkStatus();
  }
  return sink_.remember(in_step_until, root);
}

void file_sink_session::drain() {
  v1::FilesSinkMessage request;
  request.set_drain(true);
  send_(std::move(request));
  if (progress_.now == files_progress::phase::drained) progress_.now = files_progress::phase::streaming;
}

void file_sink_session::limit(std::uint64_t bytes_per_second) {
  v1::FilesSinkMessage request;
  request.set_limit(bytes_per_second);
  send_(std::move(request));
}

void file_sink_session::hold(bool held) {
  v1::FilesSinkMessage request;
  request.set_hold(held);
  send_(std::move(request));
  progress_.now = held ? files_progress::phase::held : files_progress::phase::streaming;
}

}  // namespace understudy::files
