#pragma once

#include <algorithm>

#include "agent-failover/replica/database_copy.hpp"
#include "common/rows/page_source.hpp"
#include "common/sqlite/wal_format.hpp"

namespace understudy::tables {

// What a copy has durably; the copy does not change meanwhile.
class copy_image final : public rows::page_source {
 public:
  explicit copy_image(replica::database_copy& copy) : copy_(copy), state_(copy.state()) {}
  std::uint32_t page_size() const override { return state_.page_size; }
  std::uint32_t page_count() const override { return state_.database_pages; }
  absl::Status read_page(std::uint32_t number, std::span<std::byte> page) override {
    if (number == sqlite::lock_page(state_.page_size)) {
      std::fill(page.begin(), page.end(), std::byte{0});
      return absl::OkStatus();
    }
    return copy_.read_page(number, page);
  }

 private:
  replica::database_copy& copy_;
  const channel::sink_state state_;
};

}  // namespace understudy::tables
