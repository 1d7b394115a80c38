#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "absl/status/status.h"

namespace understudy::rows {

// One committed image of a database, by its pages. It does not change while it is in use. Threads: one at a
// time.
class page_source {
 public:
  virtual ~page_source() = default;

  virtual std::uint32_t page_size() const = 0;   // bytes
  virtual std::uint32_t page_count() const = 0;  // 0: there is no database
  // Pages count from 1; `page` has page_size() bytes.
  virtual absl::Status read_page(std::uint32_t number, std::span<std::byte> page) = 0;
};

}  // namespace understudy::rows
