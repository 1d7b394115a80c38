#include "common/rows/image.hpp"

#include <fmt/core.h>

#include <bit>

#include "common/status/status_macros.hpp"

namespace understudy::rows {
namespace {

constexpr std::size_t kept_bytes =
    4 << 20;  // of pages; a leaf is looked at two or three times in a transaction
constexpr std::uint32_t least_usable = 480;  // https://sqlite.org/fileformat2.html#resbytes

}  // namespace

absl::Status corrupt(std::string what) {
  return absl::DataLossError("the database image is damaged: " + what);
}

absl::StatusOr<image> image::open(page_source& source) {
  image opened(source);
  if (source.page_count() == 0) return opened;
  opened.page_size_ = source.page_size();
  opened.pages_ = source.page_count();
  if (opened.page_size_ < 512 || opened.page_size_ > 65536 || !std::has_single_bit(opened.page_size_)) {
    return corrupt(fmt::format("pages of {} bytes", opened.page_size_));
  }
  UNDERSTUDY_ASSIGN_OR_RETURN(const page first, opened.read(1));
  const auto byte = [&](std::size_t at) { return static_cast<unsigned char>((*first)[at]); };
  if (first->compare(0, 16, std::string("SQLite format 3\0", 16)) != 0) return corrupt("page 1 is no header");
  const std::uint32_t reserved = byte(20);
  if (opened.page_size_ < least_usable + reserved) return corrupt(fmt::format("{} reserved bytes", reserved));
  opened.usable_ = opened.page_size_ - reserved;
  switch (byte(56) << 24 | byte(57) << 16 | byte(58) << 8 | byte(59)) {
    case 0:  // nothing was stored yet
    case 1:
      opened.text_ = encoding::utf8;
      break;
    case 2:
      opened.text_ = encoding::utf16le;
      break;
    case 3:
      opened.text_ = encoding::utf16be;
      break;
    default:
      return corrupt("an unknown text encoding");
  }
  return opened;
}

absl::StatusOr<image::page> image::read(std::uint32_t number) {
  if (number == 0 || number > pages_) return corrupt(fmt::format("page {} of {}", number, pages_));
  if (auto found = kept_.find(number); found != kept_.end()) return found->second;
  auto bytes = std::make_shared<std::string>(page_size_, '\0');
  UNDERSTUDY_RETURN_IF_ERROR(source_->read_page(number, std::as_writable_bytes(std::span(*bytes))));
  if ((kept_.size() + 1) * page_size_ > kept_bytes) kept_.clear();
  kept_.emplace(number, bytes);
  return page(std::move(bytes));
}

}  // namespace understudy::rows
