#pragma once

#include <vector>

#include "common/channel/database_sink.hpp"

namespace understudy::bench {

// Acknowledges everything as durable at once and keeps nothing: a failover host whose own work costs this
// machine nothing, as when it is another machine.
class instant_sink final : public channel::database_sink {
 public:
  channel::sink_state state() const override { return state_; }
  std::vector<sqlite::page_hash> hashes(std::uint32_t, std::uint32_t count) const override {
    return std::vector<sqlite::page_hash>(count);
  }
  std::vector<sqlite::page_hash> block_hashes(std::uint32_t, std::uint32_t,
                                              std::uint32_t count) const override {
    return std::vector<sqlite::page_hash>(count);
  }
  absl::Status add_pages(std::uint32_t, std::span<const channel::page_image>) override {
    return absl::OkStatus();
  }
  absl::Status end_transaction(const channel::transaction_header& header) override {
    if (header.hash_before != state_.combined) return absl::FailedPreconditionError("a gap");
    state_.combined = header.hash_after;
    state_.database_pages = header.database_pages;
    return absl::OkStatus();
  }
  absl::Status commit_durably() override { return absl::OkStatus(); }
  absl::Status begin_heal(channel::heal_way, std::uint32_t page_size) override {
    state_.page_size = page_size;
    return absl::OkStatus();
  }
  absl::Status end_heal(std::uint32_t database_pages, const sqlite::page_hash& hash_after) override {
    state_.exists = true;
    state_.database_pages = database_pages;
    state_.combined = hash_after;
    return absl::OkStatus();
  }
  void abandon() override {}

 private:
  channel::sink_state state_;
};

}  // namespace understudy::bench
