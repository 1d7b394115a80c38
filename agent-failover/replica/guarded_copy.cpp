#include "agent-failover/replica/guarded_copy.hpp"

namespace understudy::replica {

channel::sink_state guarded_copy::state() const {
  const std::lock_guard lock(mutex_);
  return copy_->state();
}

channel::known_image guarded_copy::known() const {
  const std::lock_guard lock(mutex_);
  return copy_->known();
}

std::vector<sqlite::page_hash> guarded_copy::hashes(std::uint32_t first, std::uint32_t count) const {
  const std::lock_guard lock(mutex_);
  return copy_->hashes(first, count);
}

std::vector<sqlite::page_hash> guarded_copy::block_hashes(std::uint32_t first, std::uint32_t block_pages,
                                                          std::uint32_t count) const {
  const std::lock_guard lock(mutex_);
  return copy_->block_hashes(first, block_pages, count);
}

absl::Status guarded_copy::add_pages(std::uint32_t page_size, std::span<const channel::page_image> pages) {
  return feed([&](database_copy& c) { return c.add_pages(page_size, pages); });
}

absl::Status guarded_copy::end_transaction(const channel::transaction_header& header) {
  return feed([&](database_copy& c) { return c.end_transaction(header); });
}

absl::Status guarded_copy::commit_durably() {
  return feed([](database_copy& c) { return c.commit_durably(); });
}

absl::Status guarded_copy::begin_heal(channel::heal_way way, std::uint32_t page_size) {
  return feed([&](database_copy& c) { return c.begin_heal(way, page_size); });
}

absl::Status guarded_copy::end_heal(std::uint32_t database_pages, const sqlite::page_hash& hash_after) {
  return feed([&](database_copy& c) { return c.end_heal(database_pages, hash_after); });
}

void guarded_copy::captured_at(std::chrono::system_clock::time_point time) {
  feed([&](database_copy& c) { c.captured_at(time); });
}

void guarded_copy::abandon() {
  feed([](database_copy& c) { c.abandon(); });
}

}  // namespace understudy::replica
