#include "common/channel/page_coding.hpp"

#include <fmt/core.h>
#include <zstd.h>

#include <algorithm>

#include "common/channel/wire.hpp"

namespace understudy::channel {
namespace {

constexpr int LEVEL = 1;                          // zstd: the fastest of the ordinary ones
constexpr std::size_t SAMPLE_BYTES = 64 << 10;    // of a part that is measured
constexpr std::size_t SMALLEST_TIMED = 64 << 10;  // bytes: below, a send is all overhead

absl::Status invalid(std::string text) {
  return absl::InvalidArgumentError(text);
}

}  // namespace

void compression_gauge::sent(std::size_t bytes, double seconds) {
  if (bytes < SMALLEST_TIMED) return;
  const double now = seconds / static_cast<double>(bytes);
  seconds_per_byte_ = seconds_per_byte_ == 0 ? now : 0.9 * seconds_per_byte_ + 0.1 * now;
}

void compression_gauge::measure(const std::string& pages) {
  const std::size_t size = std::min(pages.size(), SAMPLE_BYTES);
  if (size == 0) return;
  std::string out(ZSTD_compressBound(size), '\0');
  const std::size_t packed = ZSTD_compress(out.data(), out.size(), pages.data(), size, LEVEL);
  if (ZSTD_isError(packed) != 0) return;
  const double now = std::min(1.0, static_cast<double>(packed) / static_cast<double>(size));
  ratio_ = 0.75 * ratio_ + 0.25 * now;
}

void compress(v1::TransactionPart& part) {
  const std::string& plain = part.pages();
  std::string out(ZSTD_compressBound(plain.size()), '\0');
  const std::size_t packed = ZSTD_compress(out.data(), out.size(), plain.data(), plain.size(), LEVEL);
  if (ZSTD_isError(packed) != 0 || packed >= plain.size()) return;
  out.resize(packed);
  part.set_pages(std::move(out));
  part.set_encoding(v1::TransactionPart::ENCODING_ZSTD);
}

absl::StatusOr<std::vector<page_image>> decode_pages(const v1::TransactionPart& part) {
  const std::uint32_t page_size = part.page_size();
  if (!valid_page_size(page_size)) return invalid(fmt::format("page size {}", page_size));
  const std::size_t count = static_cast<std::size_t>(part.page_numbers_size());
  const std::size_t bytes = count * page_size;
  if (bytes > std::max<std::size_t>(PART_BYTES, page_size)) {
    return invalid(fmt::format("{} pages of {} bytes in one part", count, page_size));
  }
  const std::string* plain = &part.pages();
  std::string unpacked;
  if (part.encoding() == v1::TransactionPart::ENCODING_ZSTD) {
    // The frame must announce exactly what the numbers account for, so that nothing in it can grow further.
    if (ZSTD_getFrameContentSize(plain->data(), plain->size()) != bytes) {
      return invalid("a compressed part does not announce the size of its pages");
    }
    unpacked.resize(bytes);
    if (ZSTD_decompress(unpacked.data(), bytes, plain->data(), plain->size()) != bytes) {
      return invalid("a compressed part cannot be decompressed");
    }
    plain = &unpacked;
  } else if (part.encoding() > v1::TransactionPart::ENCODING_PLAIN || part.encoding() < 0) {
    return invalid(fmt::format("unknown encoding {}", static_cast<int>(part.encoding())));
  }
  if (plain->size() != bytes) return invalid(fmt::format("{} bytes for {} pages", plain->size(), count));

  const std::uint32_t lock_page = LOCK_BYTE / page_size + 1;
  std::vector<page_image> pages(count);
  for (std::size_t i = 0; i < count; ++i) {
    pages[i].number = part.page_numbers(static_cast<int>(i));
    if (pages[i].number == 0 || pages[i].number > LARGEST_PAGE_NUMBER || pages[i].number == lock_page) {
      return invalid(fmt::format("page number {}", pages[i].number));
    }
    pages[i].bytes.assign(*plain, i * page_size, page_size);
  }
  return pages;
}

}  // namespace understudy::channel
