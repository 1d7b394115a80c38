#include "agent-primary/files/change_maker.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <utility>

#include "common/files/content_coding.hpp"
#include "common/files/entry_message.hpp"
#include "common/files/tree_path.hpp"
#include "common/log/log.hpp"
#include "common/status/status_macros.hpp"
#include "common/status/status_text.hpp"
#include "understudy/v1/files.pb.h"

namespace understudy::files {
namespace {

using std::chrono::milliseconds;

constexpr std::uint64_t largest_inline = 256 * 1024;   // bytes; larger ones travel in chunks
constexpr std::size_t chunk_bytes = 1 << 20;           // what files.proto allows
constexpr std::uint64_t largest_append = 8 << 20;      // bytes at a time; more is sent as a whole file
constexpr std::size_t append_piece = 512 * 1024;       // bytes per change, so that two fit into a message
constexpr std::uint64_t smallest_in_blocks = 1 << 20;  // bytes; less is sent sooner than asked about
constexpr std::uint32_t block_bytes = 128 * 1024;  // about what one page of a large file costs on the wire
constexpr std::size_t hash_bytes = 16;
constexpr std::uint64_t longest_run = 64 << 20;  // bytes of equal blocks per message
constexpr int most_attempts = 3;                 // to read a file that is written all the time
constexpr milliseconds unstable_delay{100};      // between them
constexpr milliseconds proof_delay{200};         // after what was added went ahead
constexpr milliseconds failure_delay{2000};      // after an error of reading
constexpr std::size_t most_questions = 256;      // per message
// A large file that is written all the time takes at most a fifth of our time.
constexpr int busy_factor = 4;
constexpr milliseconds short_read{20};
constexpr milliseconds longest_rest{2000};

epoch_ns wall_now() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

}  // namespace

change_maker::change_maker(os::directory& root, tree_reader& reader, tree_index& index, dirty_set& dirty,
                           bool with_attributes)
    : root_(root),
      reader_(reader),
      index_(index),
      dirty_(dirty),
      with_attributes_(with_attributes),
      piece_bytes_(chunk_bytes) {}

v1::FileChange& change_maker::add(v1::FileBatch& batch) {
  v1::FileChange& change = *batch.add_changes();
  change.set_sequence(++sequence_);
  to_message(wall_now(), *change.mutable_seen_at());
  return change;
}

std::optional<observation> change_maker::observe(const std::string& path) {
  auto found = reader_.observe(path);
  if (found.ok()) return *std::move(found);
  failed(path, found.status());
  return std::nullopt;
}

void change_maker::failed(const std::string& path, const absl::Status& status) {
  if (is_absent(status)) return;  // it has gone: an event tells, or the next scan
  log::warning("files", "{}: cannot be read: {}", printable(path), message_of(status));
  dirty_.mark(path, false, true, failure_delay);
}

bool change_maker::accept_unstable(const std::string& path) {
  if (++unstable_[path] < most_attempts) {
    dirty_.mark(path, true, false, unstable_delay);
    return false;
  }
  return true;
}

void change_maker::make(operation&& what, v1::FileBatch& batch) {
  switch (what.what) {
    case operation::kind::put:
      return put(what.path, batch);
    case operation::kind::verify:
      return verify(what.path, !what.other.empty(), batch);
    case operation::kind::attributes:
      return attributes(what.path, batch);
    case operation::kind::link:
      return link(what.path, what.other, batch);
    case operation::kind::remove:
      return remove(what.path, batch);
    case operation::kind::rename: {
      v1::FileRename& rename = *add(batch).mutable_rename();
      rename.set_from(std::move(what.path));
      rename.set_to(std::move(what.other));
      return;
    }
  }
}

void change_maker::put(const std::string& path, v1::FileBatch& batch) {
  std::optional<observation> found = observe(path);
  if (!found) return;
  if (found->what.kind == entry_kind::regular) return put_regular(*std::move(found), batch);
  v1::FileChange& change = add(batch);
  to_message(found->what, *change.mutable_put()->mutable_entry());
  index_record record = record_of(*found);
  record.sequence = sequence_;
  index_.put(path, record);
}

std::optional<std::string> change_maker::other_name(const std::string& path, dev_t device,
                                                    ino_t inode) const {
  for (std::string& other : index_.names_of(device, inode)) {
    if (other != path && index_.find(other)->same) return std::move(other);
  }
  return std::nullopt;
}

bool change_maker::link_to_known(const observation& found, v1::FileBatch& batch) {
  if (found.names < 2) return false;
  for (const std::string& other : index_.names_of(found.device, found.inode)) {
    if (other == found.what.path) continue;
    const std::optional<index_record> known = index_.find(other);
    if (!known || !known->same || known->size != found.what.size ||
        known->modified_at != found.what.modified_at) {
      continue;
    }
    make_link(found, other, *known, batch);
    return true;
  }
  return false;
}

void change_maker::put_regular(observation&& found, v1::FileBatch& batch) {
  const std::string path = found.what.path;
  const std::optional<index_record> known = index_.find(path);
  if (!(known && prefixes_.continues(found, *known)) && is_resting(path)) return;
  const bool had_it = known && known->same && known->inode == found.inode;
  if (!had_it && link_to_known(found, batch)) return;
  if (append(found, batch)) return;
  const epoch_ns read_at = wall_now();
  const auto read_at_steady = std::chrono::steady_clock::now();
  auto reader = content_reader::open(root_, std::move(found), reader_.owners(), with_attributes_);
  if (!reader.ok()) return failed(path, reader.status());
  if ((*reader)->seen().what.size > largest_inline) {
    upload_ = std::make_unique<upload>();
    upload_->number = ++uploads_;
    upload_->reader = *std::move(reader);
    upload_->read_at = read_at;
    upload_->began = read_at_steady;
    const auto cut = cut_uploads_.extract(path);
    if (cut.empty()) {
      const std::optional<index_record> there = index_.find(path);
      if (there && there->same && there->kind == entry_kind::regular && there->size >= smallest_in_blocks &&
          upload_->reader->seen().what.size >= smallest_in_blocks) {
        upload_->blocks = block_state::wanted;
      }
      return;
    }
    const entry& what = upload_->reader->seen().what;
    if (cut.mapped().size != what.size || cut.mapped().modified_at != what.modified_at) return;
    if (const absl::Status read = upload_->reader->skip_to(cut.mapped().have); !read.ok()) {
      upload_.reset();
      failed(path, read);
    }
    return;
  }
  std::string content((*reader)->seen().what.size, '\0');
  std::string piece;
  std::uint64_t offset = 0;
  for (;;) {
    const absl::StatusOr<bool> more = (*reader)->next(piece, offset, largest_inline);
    if (!more.ok()) return failed(path, more.status());
    if (!*more) break;
    content.replace(offset, piece.size(), piece);
  }
  finish_put(**reader, 0, std::move(content), read_at, read_at_steady, batch);
}

void change_maker::ask_blocks(v1::FileBlocksQuestion& message) {
  upload_->blocks = block_state::asked;
  message.set_path(upload_->reader->seen().what.path);
  message.set_block_bytes(block_bytes);
}

absl::Status change_maker::take_blocks(const v1::FileBlocks& blocks) {
  if (!awaits_blocks()) return absl::InvalidArgumentError("blocks: there was no question");
  upload_->blocks = block_state::known;
  upload_->hashes = blocks.hashes();
  return absl::OkStatus();
}

bool change_maker::is_known_block(const std::string& piece, std::uint64_t offset) const {
  const std::uint64_t at = offset / block_bytes * hash_bytes;
  const bool whole =
      piece.size() == block_bytes || offset + piece.size() == upload_->reader->seen().what.size;
  if (offset % block_bytes != 0 || !whole || at + hash_bytes > upload_->hashes.size()) return false;
  return upload_->hashes.compare(at, hash_bytes, to_bytes(digest_of(piece))) == 0;
}

absl::StatusOr<bool> change_maker::next_piece(v1::FileChunk& chunk) {
  std::uint64_t offset = 0;
  if (upload_->hashes.empty()) {
    UNDERSTUDY_ASSIGN_OR_RETURN(const bool more, upload_->reader->next(*chunk.mutable_content(), offset,
                                                                       std::min(chunk_bytes, piece_bytes_)));
    chunk.set_offset(offset);
    return more;
  }
  if (!upload_->held.empty()) {
    chunk.set_offset(upload_->held_at);
    chunk.set_content(std::exchange(upload_->held, {}));
    return true;
  }
  std::uint64_t run = 0;
  while (run < longest_run) {
    std::string piece;
    UNDERSTUDY_ASSIGN_OR_RETURN(const bool more, upload_->reader->next(piece, offset, block_bytes));
    if (!more) break;
    if (run > 0 && (offset != chunk.offset() + run || !is_known_block(piece, offset))) {
      upload_->held = std::move(piece);
      upload_->held_at = offset;
      break;
    }
    if (run == 0) chunk.set_offset(offset);
    if (!is_known_block(piece, offset)) {
      chunk.set_content(std::move(piece));
      return true;
    }
    run += piece.size();
  }
  chunk.set_present(run);
  return run > 0;
}

bool change_maker::next_chunk(v1::FileChunk& chunk, v1::FileBatch& batch) {
  const absl::StatusOr<bool> more = next_piece(chunk);
  chunk.set_upload(upload_->number);
  if (more.ok() && *more) {
    if (!std::exchange(upload_->announced, true)) {
      to_message(upload_->reader->seen().what, *chunk.mutable_entry());
      upload_->packs_well = packs_well(chunk.content());
    }
    if (!upload_->packs_well || chunk.content().empty()) return true;
    if (std::optional<std::string> packed = pack(chunk.content())) {
      chunk.set_uncompressed(static_cast<std::uint32_t>(chunk.content().size()));
      chunk.set_content(*std::move(packed));
    }
    return true;
  }
  chunk.clear_content();  // abandons the upload, unless a put follows
  const std::unique_ptr<upload> done = std::move(upload_);
  if (!more.ok()) {
    failed(done->reader->seen().what.path, more.status());
    return false;
  }
  finish_put(*done->reader, done->number, {}, done->read_at, done->began, batch);
  return false;
}

void change_maker::finish_put(content_reader& reader, std::uint64_t upload_number, std::string&& content,
                              epoch_ns read_at, std::chrono::steady_clock::time_point read_at_steady,
                              v1::FileBatch& batch) {
  const std::string path = reader.seen().what.path;
  const absl::StatusOr<bool> stable = reader.is_stable();
  if (!stable.ok()) return failed(path, stable.status());
  if (*stable) {
    unstable_.erase(path);
  } else {
    if (reader.is_short() || !accept_unstable(path)) {
      if (reader.is_short()) dirty_.mark(path, true, false, unstable_delay);
      return;
    }
    dirty_.mark(path, true, false, unstable_delay);
  }
  rest_after(reader.seen(), read_at_steady);
  observation sent = reader.seen();
  sent.what.content = reader.content();
  v1::FilePut& put = *add(batch).mutable_put();
  to_message(sent.what, *put.mutable_entry());
  put.set_upload(upload_number);
  if (packs_well(content)) {
    if (std::optional<std::string> packed = pack(content)) {
      put.set_zstd(true);
      content = *std::move(packed);
    }
  }
  put.set_content(std::move(content));
  index_record record = record_of(sent);
  record.read_at = read_at;
  record.read_at_steady = read_at_steady;
  record.sequence = sequence_;
  index_.put(path, record);
  prefixes_.keep(reader, *stable);
  // The receiver put a new file under this name: the other names still are the old one.
  for (std::string& other : index_.names_of(sent.device, sent.inode)) {
    if (other == path) continue;
    index_record old = *index_.find(other);
    old.same = false;
    index_.put(other, old);
    if (sent.names > 1)
      consequences_.push_back({.what = operation::kind::link, .path = std::move(other), .other = path});
  }
}

bool change_maker::append(const observation& found, v1::FileBatch& batch) {
  const std::optional<index_record> known = index_.find(found.what.path);
  if (!known || !known->same || !known->content || known->inode != found.inode || known->size == 0 ||
      known->device != found.device || found.names > 1 || known->names > 1) {
    return false;
  }
  const index_record before = *known;
  if (found.what.size <= before.size || found.what.size - before.size > largest_append) return false;
  const epoch_ns read_at = wall_now();
  const auto read_at_steady = std::chrono::steady_clock::now();
  auto opened = content_reader::open(root_, found, reader_.owners(), with_attributes_);
  if (!opened.ok()) return false;
  content_reader& reader = **opened;
  if (reader.seen().inode != before.inode || reader.seen().what.size <= before.size) return false;
  index_record record = record_of(reader.seen());
  const bool proven = !prefixes_.resume(reader, before);
  if (proven) {
    if (!reader.skip_to(before.size).ok() || reader.content() != *before.content) return false;
    record.read_at = read_at;
    record.read_at_steady = read_at_steady;
  } else {
    // What is in front may have been written, too: soon it is read again, and until then this is no proof of
    // anything.
    record.read_at = before.read_at;
    record.read_at_steady = before.read_at_steady;
    dirty_.mark(found.what.path, true, false, proof_delay);
  }
  std::uint64_t end = before.size;
  while (end < reader.seen().what.size) {
    std::string piece;
    std::uint64_t offset = 0;
    const absl::StatusOr<bool> more = reader.next(piece, offset, append_piece);
    // A hole: what was sent up to here stands, the rest goes as a whole file.
    if (!more.ok() || !*more || offset != end) break;
    end += piece.size();
    v1::FileAppend& change = *add(batch).mutable_append();
    entry part = reader.seen().what;
    part.size = end;
    to_message(part, *change.mutable_entry());
    change.set_offset(offset);
    change.set_content(std::move(piece));
    record.content = reader.content();
  }
  record.size = end;
  record.sequence = sequence_;
  if (end == before.size) return false;
  record.same = end == reader.seen().what.size;
  index_.put(found.what.path, record);
  if (!record.same) dirty_.mark(found.what.path, true, false, unstable_delay);
  if (proven) rest_after(reader.seen(), read_at_steady);
  if (record.same) prefixes_.keep(reader, proven);
  return true;
}

void change_maker::rest_after(const observation& file, std::chrono::steady_clock::time_point began) {
  const auto now = std::chrono::steady_clock::now();
  if (file.what.size <= largest_inline || now - began < short_read) return;
  not_before_[file.what.path] =
      now + std::min<std::chrono::steady_clock::duration>((now - began) * busy_factor, longest_rest);
}

bool change_maker::is_resting(const std::string& path) {
  const auto at = not_before_.find(path);
  if (at == not_before_.end()) return false;
  const auto now = std::chrono::steady_clock::now();
  if (now >= at->second) {
    not_before_.erase(at);
    return false;
  }
  dirty_.mark(path, true, false, std::chrono::ceil<milliseconds>(at->second - now));
  return true;
}

void change_maker::verify(const std::string& path, bool attributes_differ, v1::FileBatch& batch) {
  std::optional<observation> found = observe(path);
  if (!found) return;
  const std::optional<index_record> at = index_.find(path);
  if (!at || found->what.kind != entry_kind::regular || at->kind != entry_kind::regular) {
    return put(path, batch);
  }
  const index_record known = *at;
  // What was known of it has been taken back; of what only a listing said, the receiver is asked.
  const bool taken_back = !known.same && known.inode != 0;
  if (taken_back || (known.same && known.size != found->what.size))
    return put_regular(*std::move(found), batch);
  if (is_resting(path)) return;
  const epoch_ns read_at = wall_now();
  const auto read_at_steady = std::chrono::steady_clock::now();
  auto opened = content_reader::open(root_, *found, reader_.owners(), with_attributes_);
  if (!opened.ok()) return failed(path, opened.status());
  content_reader& reader = **opened;
  if (const absl::Status read = reader.skip_to(reader.seen().what.size); !read.ok())
    return failed(path, read);
  const absl::StatusOr<bool> stable = reader.is_stable();
  if (!stable.ok()) return failed(path, stable.status());
  if (!*stable) return put_regular(*std::move(found), batch);
  const bool other_file = known.device != reader.seen().device || known.inode != reader.seen().inode;
  if (known.same && other_file &&
      (other_name(path, known.device, known.inode) ||
       other_name(path, reader.seen().device, reader.seen().inode))) {
    // The content may be the same, which names are one file is not.
    return put_regular(*std::move(found), batch);
  }
  if (!known.same || !known.content) {
    // What was compared is older than what was read now.
    attributes_differ = attributes_differ || !same_attributes(known, reader.seen());
    index_.put(path, record_without_content(reader.seen()));
    questions_.push_back({.seen = reader.seen(),
                          .content = reader.content(),
                          .attributes_differ = attributes_differ,
                          .read_at = read_at,
                          .read_at_steady = read_at_steady});
    return;
  }
  if (*known.content != reader.content()) return put_regular(*std::move(found), batch);
  const bool same = same_attributes(known, reader.seen());
  index_record record = same ? record_of(reader.seen()) : record_without_attributes(reader.seen());
  record.content = known.content;
  record.read_at = read_at;
  record.read_at_steady = read_at_steady;
  record.sequence = known.sequence;
  rest_after(reader.seen(), read_at_steady);
  prefixes_.keep(reader, true);
  index_.put(path, record);
  if (!same) attributes(path, batch);
}

void change_maker::attributes(const std::string& path, v1::FileBatch& batch) {
  std::optional<observation> found = observe(path);
  if (!found) return;
  const std::optional<index_record> known = index_.find(path);
  if (path != base_path) {
    if (!known || !known->same || known->kind != found->what.kind) return put(path, batch);
    // Another one may lie there since it was looked at, and where it leads is no attribute.
    if (found->what.kind == entry_kind::symlink) return put(path, batch);
    const bool other_file = known->inode != found->inode || known->device != found->device;
    if (found->what.kind == entry_kind::regular && (known->size != found->what.size || other_file))
      return put(path, batch);
  }
  index_record record = record_of(*found);
  if (known) {
    record.content = known->content;
    record.read_at = known->read_at;
    record.read_at_steady = known->read_at_steady;
  }
  to_message(found->what, *add(batch).mutable_attributes());
  record.sequence = sequence_;
  index_.put(path, record);
}

void change_maker::link(const std::string& path, const std::string& existing, v1::FileBatch& batch) {
  const std::optional<observation> found = observe(path);
  const std::optional<observation> other = observe(existing);
  const std::optional<index_record> known = index_.find(existing);
  if (!found) return;
  if (!other || !known || !known->same || found->inode != other->inode || found->device != other->device ||
      known->inode != other->inode) {
    return put(path, batch);
  }
  make_link(*found, existing, *known, batch);
}

void change_maker::make_link(const observation& found, const std::string& existing, index_record known,
                             v1::FileBatch& batch) {
  v1::FileLink& change = *add(batch).mutable_link();
  change.set_path(found.what.path);
  change.set_existing(existing);
  known.sequence = sequence_;
  index_.put(found.what.path, known);
  // They may have been changed by a name that is no more.
  if (!same_attributes(known, found))
    consequences_.push_back({.what = operation::kind::attributes, .path = found.what.path, .other = {}});
}

void change_maker::remove(const std::string& path, v1::FileBatch& batch) {
  if (!index_.find(path)) return;
  const auto found = reader_.observe(path);
  if (!found.ok()) return failed(path, found.status());
  if (*found) return dirty_.mark(path, true, true, milliseconds{0});  // it is back
  add(batch).mutable_remove()->set_path(path);
  index_.remove(path);
}

void change_maker::take_questions(v1::FileQuestion& message) {
  std::vector<question> asked;
  while (!questions_.empty() && asked.size() < most_questions) {
    message.add_paths(questions_.front().seen.what.path);
    asked.push_back(std::move(questions_.front()));
    questions_.pop_front();
  }
  asked_.push_back(std::move(asked));
}

absl::Status change_maker::answer(const v1::FileDigests& digests) {
  if (asked_.empty() || static_cast<std::size_t>(digests.digests_size()) != asked_.front().size()) {
    return absl::InvalidArgumentError("digests: they answer no question");
  }
  const std::vector<question> asked = std::move(asked_.front());
  asked_.pop_front();
  for (std::size_t i = 0; i < asked.size(); ++i) {
    const question& q = asked[i];
    const std::string& path = q.seen.what.path;
    const std::optional<index_record> known = index_.find(path);
    if (!known || known->same) continue;  // removed or sent meanwhile
    const std::optional<digest> theirs = digest_from_bytes(digests.digests(static_cast<int>(i)));
    if (!theirs || *theirs != q.content) {
      consequences_.push_back({.what = operation::kind::put, .path = path, .other = {}});
      continue;
    }
    index_record record = q.attributes_differ ? record_without_attributes(q.seen) : record_of(q.seen);
    record.content = q.content;
    record.read_at = q.read_at;
    record.read_at_steady = q.read_at_steady;
    std::optional<std::string> other = other_name(path, q.seen.device, q.seen.inode);
    record.same = !other;
    index_.put(path, record);
    if (other) {
      consequences_.push_back({.what = operation::kind::link, .path = path, .other = *std::move(other)});
    } else if (q.attributes_differ) {
      consequences_.push_back({.what = operation::kind::attributes, .path = path, .other = {}});
    }
  }
  return absl::OkStatus();
}

}  // namespace understudy::files
