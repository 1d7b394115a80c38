#pragma once

#include <memory>
#include <mutex>
#include <vector>

#include "common/channel/database_sink.hpp"
#include "tests/bench/samples.hpp"

namespace understudy::bench {

// Another sink, and when what it was given became durable.
class timed_sink final : public channel::database_sink {
 public:
  explicit timed_sink(std::shared_ptr<database_sink> inner) : inner_(std::move(inner)) {}

  // From any thread. When each transaction since the last forget() was durable, in order.
  std::vector<clock::time_point> durable_at() const {
    const std::lock_guard lock(mutex_);
    return durable_at_;
  }
  std::size_t durable() const {
    const std::lock_guard lock(mutex_);
    return durable_at_.size();
  }
  int durable_heals() const {
    const std::lock_guard lock(mutex_);
    return durable_heals_;
  }
  // Only while nothing arrives.
  void forget() {
    const std::lock_guard lock(mutex_);
    durable_at_.clear();
    durable_heals_ = 0;
  }

  channel::sink_state state() const override { return inner_->state(); }
  std::vector<sqlite::page_hash> hashes(std::uint32_t first, std::uint32_t count) const override {
    return inner_->hashes(first, count);
  }
  std::vector<sqlite::page_hash> block_hashes(std::uint32_t first, std::uint32_t block_pages,
                                              std::uint32_t count) const override {
    return inner_->block_hashes(first, block_pages, count);
  }
  absl::Status add_pages(std::uint32_t page_size, std::span<const channel::page_image> pages) override {
    return inner_->add_pages(page_size, pages);
  }
  absl::Status end_transaction(const channel::transaction_header& header) override {
    absl::Status status = inner_->end_transaction(header);
    if (status.ok()) ++ended_;
    return status;
  }
  absl::Status commit_durably() override {
    absl::Status status = inner_->commit_durably();
    const auto now = clock::now();
    const std::lock_guard lock(mutex_);
    if (status.ok()) {
      durable_at_.insert(durable_at_.end(), std::exchange(ended_, 0), now);
      durable_heals_ += std::exchange(healed_, 0);
    }
    return status;
  }
  absl::Status begin_heal(channel::heal_way way, std::uint32_t page_size) override {
    return inner_->begin_heal(way, page_size);
  }
  absl::Status end_heal(std::uint32_t database_pages, const sqlite::page_hash& hash_after) override {
    absl::Status status = inner_->end_heal(database_pages, hash_after);
    if (status.ok()) ++healed_;
    return status;
  }
  void abandon() override { inner_->abandon(); }

 private:
  std::shared_ptr<database_sink> inner_;
  std::size_t ended_ = 0;
  int healed_ = 0;
  mutable std::mutex mutex_;
  std::vector<clock::time_point> durable_at_;
  int durable_heals_ = 0;
};

}  // namespace understudy::bench
