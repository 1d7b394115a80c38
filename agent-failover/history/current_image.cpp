#include "agent-failover/history/current_image.hpp"

#include <algorithm>
#include <utility>

#include "common/sqlite/wal_format.hpp"
#include "common/status/status_macros.hpp"

namespace understudy::history {

void current_image::set(replica::observed_image image, frame_map frames) {
  image_ = std::move(image);
  frames_ = std::move(frames);
  ++generation_;
}

void current_image::restart() {
  frames_.clear();
  ++generation_;
}

void current_image::add(const frame_map& frames) {
  for (const auto& [page, frame] : frames) frames_[page] = frame;
}

void current_image::drop() {
  image_ = {};
  frames_.clear();
  good_ = false;
  ++generation_;
}

absl::Status current_image::read(std::uint32_t page, std::span<std::byte> bytes,
                                 const frame_map* newer) const {
  if (newer != nullptr) {
    if (const auto frame = newer->find(page); frame != newer->end()) return read_frame(frame->second, bytes);
  }
  if (const auto frame = frames_.find(page); frame != frames_.end()) return read_frame(frame->second, bytes);
  return read_stored(page, bytes);
}

absl::Status current_image::read_run(std::uint32_t first, std::span<std::byte> bytes) const {
  UNDERSTUDY_RETURN_IF_ERROR(read_stored(first, bytes));
  const std::size_t size = image_.page_size;
  for (std::size_t i = 0; i < bytes.size() / size; ++i) {
    const auto frame = frames_.find(first + static_cast<std::uint32_t>(i));
    if (frame == frames_.end()) continue;
    UNDERSTUDY_RETURN_IF_ERROR(read_frame(frame->second, bytes.subspan(i * size, size)));
  }
  return absl::OkStatus();
}

absl::Status current_image::read_frame(std::uint32_t frame, std::span<std::byte> bytes) const {
  if (image_.wal == nullptr) return absl::AbortedError("the copy was handed over");
  const std::uint64_t at = sqlite::frame_offset(frame, image_.page_size) + sqlite::wal_frame_header_bytes;
  UNDERSTUDY_ASSIGN_OR_RETURN(const std::size_t n, image_.wal->read_at(bytes, at));
  return n == bytes.size() ? absl::OkStatus() : absl::DataLossError("the copy's -wal was cut short");
}

absl::Status current_image::read_stored(std::uint32_t page, std::span<std::byte> bytes) const {
  if (image_.database == nullptr) return absl::AbortedError("the copy was handed over");
  UNDERSTUDY_ASSIGN_OR_RETURN(const std::size_t n,
                              image_.database->read_at(bytes, std::uint64_t{page - 1} * image_.page_size));
  std::fill(bytes.begin() + static_cast<std::ptrdiff_t>(n), bytes.end(), std::byte{0});
  return absl::OkStatus();
}

}  // namespace understudy::history
