#pragma once

// A database image as its file header describes it, with the pages read lately kept.

#include <cstdint>
#include <memory>
#include <string>
#include <unordered_map>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/rows/page_source.hpp"

namespace understudy::rows {

enum class encoding { utf8, utf16le, utf16be };

// kDataLoss, for whatever a page says that cannot be.
absl::Status corrupt(std::string what);

class image {
 public:
  using page = std::shared_ptr<const std::string>;

  // kDataLoss when page 1 is no header of a SQLite database. `source` outlives the image.
  static absl::StatusOr<image> open(page_source& source);

  std::uint32_t pages() const { return pages_; }
  std::uint32_t usable() const { return usable_; }  // bytes of a page without the reserved ones
  encoding text() const { return text_; }

  // kDataLoss for a page past the end.
  absl::StatusOr<page> read(std::uint32_t number);

 private:
  explicit image(page_source& source) : source_(&source) {}

  page_source* source_;
  std::uint32_t pages_ = 0;
  std::uint32_t page_size_ = 0;
  std::uint32_t usable_ = 0;
  encoding text_ = encoding::utf8;
  std::unordered_map<std::uint32_t, page> kept_;
};

}  // namespace understudy::rows
