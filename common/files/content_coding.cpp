#include "common/files/content_coding.hpp"

#include <zstd.h>

#include <algorithm>

namespace understudy::files {
namespace {

constexpr int level = 1;                   // the fastest of the ordinary ones
constexpr std::size_t smallest = 512;      // bytes; less is all overhead
constexpr std::size_t sample = 16 * 1024;  // bytes, from the middle, behind any header

std::string frame_of(std::string_view content) {
  std::string frame(ZSTD_compressBound(content.size()), '\0');
  const std::size_t length = ZSTD_compress(frame.data(), frame.size(), content.data(), content.size(), level);
  frame.resize(ZSTD_isError(length) != 0 ? 0 : length);
  return frame;
}

}  // namespace

bool packs_well(std::string_view content) {
  if (content.size() < smallest) return false;
  const std::size_t length = std::min(sample, content.size());
  const std::string frame = frame_of(content.substr((content.size() - length) / 2, length));
  return !frame.empty() && frame.size() * 3 <= length * 2;
}

std::optional<std::string> pack(std::string_view content) {
  std::string frame = frame_of(content);
  if (frame.empty() || frame.size() >= content.size()) return std::nullopt;
  return frame;
}

absl::StatusOr<std::string> unpack(std::string_view frame, std::size_t size) {
  if (ZSTD_getFrameContentSize(frame.data(), frame.size()) != size)
    return absl::InvalidArgumentError("a zstd frame does not announce the size of its content");
  std::string content(size, '\0');
  if (ZSTD_decompress(content.data(), size, frame.data(), frame.size()) != size)
    return absl::InvalidArgumentError("a zstd frame cannot be read");
  return content;
}

}  // namespace understudy::files
