#include "agent-failover/replica/tree/staging.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <charconv>
#include <set>
#include <utility>
#include <vector>

#include "agent-failover/replica/tree/remove_tree.hpp"
#include "common/files/content_coding.hpp"
#include "common/files/entry_message.hpp"
#include "common/status/status_macros.hpp"
#include "understudy/v1/files.pb.h"

namespace understudy::files {
namespace {

constexpr std::size_t most_uploads = 16;        // at a time; an honest sender has one
constexpr std::size_t largest_chunk = 1 << 20;  // bytes; what files.proto says
constexpr std::uint64_t sync_every =
    4 << 20;  // bytes; what is sent again after a cut, and the last sync is short
constexpr std::uint64_t smallest_journaled = 16 << 20;  // bytes; less is soon sent again
constexpr std::size_t most_cut = 16;                    // remembered at a time
constexpr std::string_view journal_suffix = ".upload";
constexpr std::size_t largest_journal = 64 * 1024;                      // bytes; an entry with its path
constexpr std::uint64_t largest_hashed_hole = std::uint64_t{64} << 30;  // bytes; about 5 s of hashing zeros
constexpr std::uint64_t largest_offset = std::uint64_t{1}
                                         << 62;  // bytes; what off_t can address, and some room

std::span<const std::byte> bytes_of(std::string_view content) {
  return std::as_bytes(std::span(content.data(), content.size()));
}

}  // namespace

absl::StatusOr<std::unique_ptr<staging>> staging::open(std::unique_ptr<os::directory> where) {
  std::unique_ptr<staging> opened(new staging(std::move(where)));
  std::vector<std::string> names;
  UNDERSTUDY_RETURN_IF_ERROR(opened->where_->list([&](const os::directory_entry& found) {
    if (found.name != incoming_name) names.push_back(found.name);
    return true;
  }));
  std::set<std::string> kept;
  for (const std::string& name : names) {
    std::uint64_t number = 0;
    std::from_chars(name.data(), name.data() + name.size(), number);
    opened->next_ = std::max(opened->next_, number);
    if (!name.ends_with(journal_suffix) || opened->cut_.size() >= most_cut) continue;
    std::optional<cut_upload> cut = opened->read_journal(name.substr(0, name.size() - journal_suffix.size()));
    if (!cut || opened->cut_.contains(cut->what.path)) continue;
    kept.insert({cut->name, name});
    opened->remember_cut(*std::move(cut));
  }
  for (const std::string& name : names) {
    if (!kept.contains(name)) UNDERSTUDY_RETURN_IF_ERROR(remove_tree(*opened->where_, name));
  }
  return opened;
}

// Something is left to send, so that its first piece tells which upload goes on.
void staging::remember_cut(cut_upload cut) {
  cut.have = std::min(cut.have, cut.what.size - 1);
  cut_.emplace(cut.what.path, std::move(cut));
}

std::optional<staging::cut_upload> staging::read_journal(const std::string& name) {
  const auto journal = where_->open(name + std::string(journal_suffix), os::open_mode::read);
  if (!journal.ok()) return std::nullopt;
  std::string bytes(largest_journal, '\0');
  const auto length = (*journal)->read_at(std::as_writable_bytes(std::span(bytes.data(), bytes.size())), 0);
  if (!length.ok() || *length < 16) return std::nullopt;
  bytes.resize(*length);
  const std::string body = bytes.substr(16);
  v1::FileUpload stored;
  if (to_bytes(digest_of(body)) != bytes.substr(0, 16) || !stored.ParseFromString(body)) return std::nullopt;
  auto what = from_message(stored.entry(), false);
  const auto status = where_->status(name);
  if (!what.ok() || !status.ok() || static_cast<std::uint64_t>(status->st_size) < stored.have() ||
      stored.have() == 0)
    return std::nullopt;
  return cut_upload{.name = name, .what = *std::move(what), .have = stored.have()};
}

absl::Status staging::record(upload& u) {
  u.unsynced = 0;
  UNDERSTUDY_RETURN_IF_ERROR(u.file.file->sync_data());
  if (!u.announced) return absl::OkStatus();
  const bool made = u.journal == nullptr;
  if (made) {
    UNDERSTUDY_ASSIGN_OR_RETURN(
        u.journal, where_->open(u.file.name + std::string(journal_suffix), os::open_mode::create, 0600));
  }
  v1::FileUpload stored;
  to_message(*u.announced, *stored.mutable_entry());
  stored.set_have(u.position);
  const std::string body = stored.SerializeAsString();
  const std::string bytes = to_bytes(digest_of(body)) + body;
  UNDERSTUDY_RETURN_IF_ERROR(u.journal->write_at(bytes_of(bytes), 0));
  UNDERSTUDY_RETURN_IF_ERROR(u.journal->truncate(bytes.size()));
  UNDERSTUDY_RETURN_IF_ERROR(u.journal->sync_data());
  return made ? where_->sync() : absl::OkStatus();
}

void staging::begin(upload& u, const v1::FileChunk& first) {
  if (!first.has_entry()) return;
  auto what = from_message(first.entry(), false);
  if (!what.ok() || what->kind != entry_kind::regular || what->size < smallest_journaled) return;
  u.announced = *std::move(what);
  const auto cut = cut_.find(u.announced->path);
  if (cut == cut_.end()) return;
  const cut_upload known = std::move(cut->second);
  cut_.erase(cut);
  const bool same = known.what.size == u.announced->size &&
                    known.what.modified_at == u.announced->modified_at && known.have == first.offset();
  if (same && go_on(u, known).ok()) return;
  u.file = {};
  u.content = {};
  u.position = 0;
  discard(known.name);
}

absl::Status staging::go_on(upload& u, const cut_upload& cut) {
  u.file.name = cut.name;
  UNDERSTUDY_ASSIGN_OR_RETURN(u.file.file, where_->open(cut.name, os::open_mode::read_write));
  UNDERSTUDY_RETURN_IF_ERROR(u.file.file->truncate(cut.have));
  std::vector<std::byte> buffer(1 << 20);
  while (u.position < cut.have) {
    const std::size_t wanted = std::min<std::uint64_t>(buffer.size(), cut.have - u.position);
    UNDERSTUDY_ASSIGN_OR_RETURN(const std::size_t length,
                                u.file.file->read_at(std::span(buffer).first(wanted), u.position));
    if (length == 0) return absl::DataLossError("a cut upload is shorter than it was");
    u.content.add(std::span(buffer).first(length));
    u.position += length;
  }
  return absl::OkStatus();
}

void staging::drop_cut_uploads() {
  for (const auto& [path, cut] : cut_) discard(cut.name);
  cut_.clear();
}

void staging::cut_uploads(const std::function<void(const entry&, std::uint64_t)>& visit) const {
  for (const auto& [path, cut] : cut_) visit(cut.what, cut.have);
}

std::string staging::new_name() {
  return fmt::format("{}", ++next_);
}

absl::StatusOr<staged_file> staging::write(std::string_view content) {
  staged_file staged{.name = new_name(), .file = nullptr};
  UNDERSTUDY_ASSIGN_OR_RETURN(staged.file, where_->open(staged.name, os::open_mode::create_new, 0600));
  if (const absl::Status written = staged.file->write_at(bytes_of(content), 0); !written.ok()) {
    discard(staged.name);
    return written;
  }
  return staged;
}

void staging::discard(const std::string& name) {
  // Best effort: what stays is swept at the next start.
  (void)where_->remove_file(name);
  (void)where_->remove_file(name + std::string(journal_suffix));
}

void staging::add_hole(upload& u, std::uint64_t length) {
  if (length > largest_hashed_hole || !u.failure.ok()) u.verifiable = false;
  if (u.verifiable) u.content.add_zeros(length);
}

absl::Status staging::write_chunk(upload& u, std::string_view content, std::uint64_t offset) {
  if (u.file.file == nullptr) {
    u.file.name = new_name();
    UNDERSTUDY_ASSIGN_OR_RETURN(u.file.file, where_->open(u.file.name, os::open_mode::create_new, 0600));
  }
  UNDERSTUDY_RETURN_IF_ERROR(u.file.file->write_at(bytes_of(content), offset));
  u.unsynced += content.size();
  return absl::OkStatus();
}

absl::Status staging::take_present(upload& u, std::uint64_t offset, std::uint64_t length,
                                   const open_present& present) {
  if (u.present == nullptr) {
    UNDERSTUDY_ASSIGN_OR_RETURN(u.present, present(u.path));
  }
  std::vector<std::byte> buffer(1 << 20);
  for (const std::uint64_t end = offset + length; offset < end;) {
    UNDERSTUDY_ASSIGN_OR_RETURN(
        const std::size_t got,
        u.present->read_at(std::span(buffer).first(std::min<std::uint64_t>(buffer.size(), end - offset)),
                           offset));
    if (got == 0) return absl::DataLossError("the present file is shorter than its sender knows it");
    const std::string_view content(reinterpret_cast<const char*>(buffer.data()), got);
    UNDERSTUDY_RETURN_IF_ERROR(write_chunk(u, content, offset));
    if (u.verifiable) u.content.add(content);
    offset += got;
  }
  return absl::OkStatus();
}

absl::Status staging::add_chunk(const v1::FileChunk& chunk, const open_present& present) {
  if (chunk.content().size() > largest_chunk) return absl::InvalidArgumentError("chunk: larger than 1 MiB");
  if (chunk.content().empty() && chunk.present() == 0) {
    if (const auto at = uploads_.find(chunk.upload()); at != uploads_.end()) {
      if (at->second.file.file != nullptr) discard(at->second.file.name);
      uploads_.erase(at);
    }
    return absl::OkStatus();
  }
  if (!uploads_.contains(chunk.upload()) && uploads_.size() >= most_uploads) {
    return absl::InvalidArgumentError("chunk: too many uploads at a time");
  }
  std::string unpacked;
  std::string_view content = chunk.content();
  if (chunk.uncompressed() != 0) {
    if (chunk.uncompressed() > largest_chunk) return absl::InvalidArgumentError("chunk: larger than 1 MiB");
    UNDERSTUDY_ASSIGN_OR_RETURN(unpacked, unpack(content, chunk.uncompressed()));
    content = unpacked;
  }
  const bool first = !uploads_.contains(chunk.upload());
  upload& u = uploads_[chunk.upload()];
  if (first) {
    u.path = chunk.entry().path();
    begin(u, chunk);
  }
  if (chunk.offset() < u.position || chunk.offset() > largest_offset) {
    return absl::InvalidArgumentError("chunk: its offset is not behind the one before");
  }
  add_hole(u, chunk.offset() - u.position);
  if (chunk.present() > 0) {
    if (chunk.present() > largest_offset) return absl::InvalidArgumentError("chunk: out of range");
    if (u.failure.ok()) u.failure = take_present(u, chunk.offset(), chunk.present(), present);
    u.position = chunk.offset() + chunk.present();
  } else {
    if (u.failure.ok()) u.failure = write_chunk(u, content, chunk.offset());
    if (u.verifiable) u.content.add(content);
    u.position = chunk.offset() + content.size();
  }
  if (u.failure.ok() && u.unsynced >= sync_every) u.failure = record(u);
  return absl::OkStatus();
}

absl::StatusOr<staged_file> staging::finish(std::uint64_t number, std::uint64_t size,
                                            const std::optional<digest>& content) {
  upload u;
  if (const auto at = uploads_.find(number); at != uploads_.end()) {
    u = std::move(at->second);
    uploads_.erase(at);
  }
  const auto whole = [&]() -> absl::Status {
    UNDERSTUDY_RETURN_IF_ERROR(u.failure);
    if (u.position > size) return absl::InvalidArgumentError("the upload is longer than the file");
    if (u.file.file == nullptr) {  // a file that is one hole
      u.file.name = new_name();
      UNDERSTUDY_ASSIGN_OR_RETURN(u.file.file, where_->open(u.file.name, os::open_mode::create_new, 0600));
    }
    if (u.position < size) UNDERSTUDY_RETURN_IF_ERROR(u.file.file->truncate(size));
    add_hole(u, size - u.position);
    if (content && u.verifiable && u.content.result() != *content)
      return absl::DataLossError("the content does not have the digest announced");
    if (u.announced) (void)where_->remove_file(u.file.name + std::string(journal_suffix));
    return absl::OkStatus();
  }();
  if (!whole.ok()) {
    if (!u.file.name.empty()) discard(u.file.name);
    return whole;
  }
  return std::move(u.file);
}

void staging::abandon_uploads() {
  for (auto& [number, u] : uploads_) {
    if (u.file.file == nullptr) continue;
    if (u.announced && u.failure.ok() && u.position > 0 && cut_.size() < most_cut &&
        !cut_.contains(u.announced->path) && record(u).ok()) {
      remember_cut({.name = u.file.name, .what = *u.announced, .have = u.position});
    } else {
      discard(u.file.name);
    }
  }
  uploads_.clear();
}

}  // namespace understudy::files
