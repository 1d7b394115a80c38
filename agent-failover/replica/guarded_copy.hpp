#pragma once

// A database_copy that a stream feeds while something else looks after it: folds it, reads it again, asks it
// for its image. Every call holds one mutex, and a commit waits for it: reading goes in slices of
// milliseconds, a fold takes as long as the disk does, which is why it comes while the stream is quiet.
//
// Threads: any.

#include <chrono>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "agent-failover/replica/database_copy.hpp"

namespace understudy::replica {

class guarded_copy final : public channel::database_sink {
 public:
  explicit guarded_copy(std::unique_ptr<database_copy> copy) : copy_(std::move(copy)) {}

  template <class F>
  auto with(const F& f) {
    const std::lock_guard lock(mutex_);
    return f(*copy_);
  }
  // Since the stream last had to do with it.
  std::chrono::steady_clock::duration quiet_for() const {
    const std::lock_guard lock(mutex_);
    return std::chrono::steady_clock::now() - fed_at_;
  }

  channel::sink_state state() const override;
  channel::known_image known() const override;
  std::vector<sqlite::page_hash> hashes(std::uint32_t first, std::uint32_t count) const override;
  std::vector<sqlite::page_hash> block_hashes(std::uint32_t first, std::uint32_t block_pages,
                                              std::uint32_t count) const override;
  absl::Status add_pages(std::uint32_t page_size, std::span<const channel::page_image> pages) override;
  absl::Status end_transaction(const channel::transaction_header& header) override;
  absl::Status commit_durably() override;
  absl::Status begin_heal(channel::heal_way way, std::uint32_t page_size) override;
  absl::Status end_heal(std::uint32_t database_pages, const sqlite::page_hash& hash_after) override;
  void captured_at(std::chrono::system_clock::time_point time) override;
  void abandon() override;

 private:
  template <class F>
  auto feed(const F& f) {
    const std::lock_guard lock(mutex_);
    fed_at_ = std::chrono::steady_clock::now();
    return f(*copy_);
  }

  mutable std::mutex mutex_;
  const std::unique_ptr<database_copy> copy_;
  std::chrono::steady_clock::time_point fed_at_{};
};

}  // namespace understudy::replica
