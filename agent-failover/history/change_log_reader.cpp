#include "agent-failover/history/change_log_reader.hpp"

#include <algorithm>
#include <utility>

#include "common/status/status_macros.hpp"

namespace understudy::history {
namespace {

constexpr std::size_t read_ahead_bytes = 128 << 10;

absl::Status dropped() {
  return absl::AbortedError("the history was interrupted, or this part of it was dropped meanwhile");
}

}  // namespace

absl::StatusOr<os::file*> change_log_reader::file_of(std::uint64_t segment) {
  if (const auto open = files_.find(segment); open != files_.end()) return open->second.get();
  if (directory_ == nullptr) {
    UNDERSTUDY_ASSIGN_OR_RETURN(directory_, log_.open_directory());
  }
  auto file = directory_->open(change_log::file_name(segment), os::open_mode::read);
  if (absl::IsNotFound(file.status())) return dropped();
  UNDERSTUDY_RETURN_IF_ERROR(file.status());
  return files_.emplace(segment, *std::move(file)).first->second.get();
}

absl::Status change_log_reader::hold(std::uint64_t from_segment) {
  UNDERSTUDY_RETURN_IF_ERROR(file_of(from_segment).status());
  for (auto next = log_.after_segment(from_segment); next; next = log_.after_segment(next->segment)) {
    UNDERSTUDY_RETURN_IF_ERROR(file_of(next->segment).status());
  }
  return absl::OkStatus();
}

absl::StatusOr<std::optional<block>> change_log_reader::next(place& at) {
  for (;;) {
    std::uint64_t end = log_.end_of(at.segment);
    if (end == 0) {
      // Dropped: it was complete, or it was the last one when the history was interrupted.
      const auto known = ends_.find(at.segment);
      if (known == ends_.end()) return dropped();
      end = known->second;
    }
    ends_[at.segment] = end;
    if (at.offset < end) {
      UNDERSTUDY_ASSIGN_OR_RETURN(os::file* const file, file_of(at.segment));
      const auto fill = [&](std::size_t wanted) -> absl::StatusOr<std::span<const std::byte>> {
        const bool inside = buffered_.segment == at.segment && at.offset >= buffered_.offset &&
                            at.offset + wanted <= buffered_.offset + buffer_.size();
        if (!inside) {
          buffer_.resize(std::min<std::uint64_t>(std::max(read_ahead_bytes, wanted), end - at.offset));
          UNDERSTUDY_ASSIGN_OR_RETURN(const std::size_t n,
                                      file->read_at(std::as_writable_bytes(std::span(buffer_)), at.offset));
          buffer_.resize(n);
          buffered_ = at;
        }
        const auto have = std::as_bytes(std::span(buffer_)).subspan(at.offset - buffered_.offset);
        return have.first(std::min(have.size(), wanted));
      };
      UNDERSTUDY_ASSIGN_OR_RETURN(auto bytes, fill(block_header_bytes));
      UNDERSTUDY_ASSIGN_OR_RETURN(const std::size_t head, head_bytes_of(bytes));
      UNDERSTUDY_ASSIGN_OR_RETURN(bytes, fill(head));
      UNDERSTUDY_ASSIGN_OR_RETURN(block b, parse_block_head(bytes));
      if (b.index) return absl::DataLossError("the history's log is damaged: an index among changes");
      at.offset += b.bytes;
      return b;
    }
    const auto next = log_.after_segment(at.segment);
    if (!next) return std::nullopt;
    at = *next;
  }
}

absl::StatusOr<std::string> change_log_reader::images(const block& b, const place& at) {
  UNDERSTUDY_ASSIGN_OR_RETURN(os::file* const file, file_of(at.segment));
  std::string payload(b.payload_bytes(), '\0');
  UNDERSTUDY_ASSIGN_OR_RETURN(const std::size_t n, file->read_at(std::as_writable_bytes(std::span(payload)),
                                                                 at.offset + b.head_bytes()));
  payload.resize(n);
  return images_of(b, std::as_bytes(std::span(payload)));
}

absl::StatusOr<place> change_log_reader::find(std::uint64_t sequence) {
  const auto near = log_.near(sequence);
  if (!near) return dropped();
  place at = *near;
  for (;;) {
    // Where the next block lies, which may be in the next segment.
    if (at.offset >= log_.end_of(at.segment)) {
      const auto next = log_.after_segment(at.segment);
      if (!next) return dropped();
      at = *next;
    }
    const place here = at;
    UNDERSTUDY_ASSIGN_OR_RETURN(const auto b, next(at));
    if (!b || b->what.sequence > sequence) return dropped();
    if (b->what.sequence == sequence) return here;
  }
}

}  // namespace understudy::history
