#include "agent-failover/replica/tree/staging.hpp"

#include <fmt/core.h>

#include <utility>
#include <vector>

#include "agent-failover/replica/tree/remove_tree.hpp"
#include "common/status/status_macros.hpp"
#include "understudy/v1/files.pb.h"

namespace understudy::files {
namespace {

constexpr std::size_t most_uploads = 16;        // at a time; an honest sender has one
constexpr std::size_t largest_chunk = 1 << 20;  // bytes; what files.proto says
constexpr std::uint64_t sync_every = 64 << 20;  // bytes; so that the last sync of a large file is short
constexpr std::uint64_t largest_hashed_hole = std::uint64_t{64} << 30;  // bytes; about 5 s of hashing zeros
constexpr std::uint64_t largest_offset = std::uint64_t{1}
                                         << 62;  // bytes; what off_t can address, and some room

std::span<const std::byte> bytes_of(std::string_view content) {
  return std::as_bytes(std::span(content.data(), content.size()));
}

}  // namespace

absl::StatusOr<std::unique_ptr<staging>> staging::open(std::unique_ptr<os::directory> where) {
  std::unique_ptr<staging> opened(new staging(std::move(where)));
  std::vector<std::string> left_over;
  UNDERSTUDY_RETURN_IF_ERROR(opened->where_->list([&](const os::directory_entry& found) {
    left_over.push_back(found.name);
    return true;
  }));
  for (const std::string& name : left_over) UNDERSTUDY_RETURN_IF_ERROR(remove_tree(*opened->where_, name));
  return opened;
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
}

void staging::add_hole(upload& u, std::uint64_t length) {
  if (length > largest_hashed_hole || !u.failure.ok()) u.verifiable = false;
  if (u.verifiable) u.content.add_zeros(length);
}

absl::Status staging::write_chunk(upload& u, const v1::FileChunk& chunk) {
  if (u.file.file == nullptr) {
    u.file.name = new_name();
    UNDERSTUDY_ASSIGN_OR_RETURN(u.file.file, where_->open(u.file.name, os::open_mode::create_new, 0600));
  }
  UNDERSTUDY_RETURN_IF_ERROR(u.file.file->write_at(bytes_of(chunk.content()), chunk.offset()));
  u.unsynced += chunk.content().size();
  if (u.unsynced >= sync_every) {
    u.unsynced = 0;
    return u.file.file->sync_data();
  }
  return absl::OkStatus();
}

absl::Status staging::add_chunk(const v1::FileChunk& chunk) {
  if (chunk.content().size() > largest_chunk) return absl::InvalidArgumentError("chunk: larger than 1 MiB");
  if (chunk.content().empty()) {
    if (const auto at = uploads_.find(chunk.upload()); at != uploads_.end()) {
      if (at->second.file.file != nullptr) discard(at->second.file.name);
      uploads_.erase(at);
    }
    return absl::OkStatus();
  }
  if (!uploads_.contains(chunk.upload()) && uploads_.size() >= most_uploads) {
    return absl::InvalidArgumentError("chunk: too many uploads at a time");
  }
  upload& u = uploads_[chunk.upload()];
  if (chunk.offset() < u.position || chunk.offset() > largest_offset) {
    return absl::InvalidArgumentError("chunk: its offset is not behind the one before");
  }
  if (u.failure.ok()) u.failure = write_chunk(u, chunk);
  add_hole(u, chunk.offset() - u.position);
  if (u.verifiable) u.content.add(chunk.content());
  u.position = chunk.offset() + chunk.content().size();
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
    if (!content || !u.verifiable) return absl::OkStatus();
    if (u.content.result() != *content)
      return absl::DataLossError("the content does not have the digest announced");
    return absl::OkStatus();
  }();
  if (!whole.ok()) {
    if (!u.file.name.empty()) discard(u.file.name);
    return whole;
  }
  return std::move(u.file);
}

void staging::abandon_uploads() {
  for (const auto& [number, u] : uploads_) {
    if (u.file.file != nullptr) discard(u.file.name);
  }
  uploads_.clear();
}

}  // namespace understudy::files
