#include "agent-primary/files/content_reader.hpp"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>
#include <vector>

#include "common/files/xattrs.hpp"
#include "common/status/status_macros.hpp"

namespace understudy::files {

absl::StatusOr<std::unique_ptr<content_reader>> content_reader::open(os::directory& root, observation seen,
                                                                     owner_names& owners,
                                                                     bool with_attributes) {
  UNDERSTUDY_ASSIGN_OR_RETURN(auto file, root.open(seen.what.path, os::open_mode::read));
  UNDERSTUDY_ASSIGN_OR_RETURN(const struct ::stat status, file->status());
  entry opened = entry_of(status, entry_kind::regular);
  opened.path = std::move(seen.what.path);
  opened.owner = owners.user(status.st_uid);
  opened.group = owners.group(status.st_gid);
  if (with_attributes) opened.attributes = read_attributes(file->descriptor());
  observation now{.what = std::move(opened),
                  .device = status.st_dev,
                  .inode = status.st_ino,
                  .changed_at = to_nanoseconds(status.st_ctim),
                  .names = status.st_nlink};
  return std::unique_ptr<content_reader>(new content_reader(std::move(file), std::move(now)));
}

std::uint64_t content_reader::skip_hole(std::uint64_t from) const {
  const off_t data = ::lseek(file_->descriptor(), static_cast<off_t>(from), SEEK_DATA);
  if (data < 0) return errno == ENXIO ? seen_.what.size : from;  // a hole up to the end; or no such call here
  return std::min(static_cast<std::uint64_t>(data), seen_.what.size);
}

std::uint64_t content_reader::end_of_data(std::uint64_t size) const {
  const off_t hole = ::lseek(file_->descriptor(), static_cast<off_t>(position_), SEEK_HOLE);
  const bool usable = hole > static_cast<off_t>(position_) && static_cast<std::uint64_t>(hole) < size;
  return usable ? static_cast<std::uint64_t>(hole) : size;
}

absl::StatusOr<bool> content_reader::next(std::string& piece, std::uint64_t& offset, std::size_t limit) {
  return next_before(seen_.what.size, piece, offset, limit);
}

absl::StatusOr<bool> content_reader::next_before(std::uint64_t size, std::string& piece,
                                                 std::uint64_t& offset, std::size_t limit) {
  // A hole of less than this is not worth a piece of its own.
  constexpr std::uint64_t shortest_hole = 64 * 1024;
  if (short_ || position_ >= size) return false;
  const std::uint64_t data = std::min(skip_hole(position_), size);
  if (data - position_ >= shortest_hole || data == size) {
    content_.add_zeros(data - position_);
    position_ = data;
    if (position_ >= size) return false;
  }
  piece.resize(static_cast<std::size_t>(std::min<std::uint64_t>(limit, end_of_data(size) - position_)));
  offset = position_;
  UNDERSTUDY_ASSIGN_OR_RETURN(
      const std::size_t length,
      file_->read_at(std::as_writable_bytes(std::span(piece.data(), piece.size())), position_));
  if (length < piece.size()) short_ = true;
  piece.resize(length);
  content_.add(piece);
  position_ += length;
  return length > 0;
}

absl::Status content_reader::skip_to(std::uint64_t end) {
  std::string piece;
  std::uint64_t offset = 0;
  while (position_ < end) {
    UNDERSTUDY_ASSIGN_OR_RETURN(const bool more, next_before(end, piece, offset, 1 << 20));
    if (!more) break;
  }
  return absl::OkStatus();
}

absl::StatusOr<bool> content_reader::is_stable() {
  if (short_) return false;
  UNDERSTUDY_ASSIGN_OR_RETURN(const struct ::stat now, file_->status());
  const auto size = static_cast<std::uint64_t>(now.st_size);
  // Growth is no doubt: what was read is what the file began with, and an event announces the rest.
  if (size > seen_.what.size) return true;
  return size == seen_.what.size && to_nanoseconds(now.st_mtim) == seen_.what.modified_at;
}

}  // namespace understudy::files
