// database_watcher: the database file against what was captured, after each generation and once in a while.

#include <algorithm>
#include <utility>

#include "agent-primary/capture/database_watcher.hpp"
#include "common/log/log.hpp"

namespace understudy::capture {
namespace {

using std::chrono::steady_clock;

constexpr unsigned verify_attempts = 5;             // readings, each after all events and frames so far
constexpr std::uint64_t reported_divergences = 20;  // in the log, each; the counter has them all
constexpr auto verify_slice = std::chrono::microseconds(500);

}  // namespace

void database_watcher::schedule_verification(steady_clock::duration since_last) {
  if (stage_ == stage::rollback && std::exchange(verify_now_, false)) {
    rollback_.disturb();  // there each comparison is of the whole file
    return wake();
  }
  if (stage_ != stage::following || verify_until_ != 0) return;
  if (std::exchange(verify_now_, false)) {
    verify_next_ = 1;
    verify_until_ = image_->pages();
    return wake();
  }
  verify_credit_ += image_->pages() * (std::chrono::duration<double>(since_last) /
                                       std::chrono::duration<double>(options_.verify_period));
  for (; verify_credit_ >= 1; --verify_credit_, ++verify_next_) {
    if (verify_next_ > image_->pages()) {
      verify_next_ = 1;
      ++metrics_.verify_rounds;
    }
    unverified_.push_back(verify_next_);
  }
}

// What ended generations wrote must by now stand in the database file: this is where commits that nobody
// could see, and SQLite's WAL-reset defect (before 3.51.3), come to light.
void database_watcher::verify_turn() {
  for (const std::uint32_t page : image_->take_retired()) unverified_.push_back(page);
  if (unverified_.empty() && verify_until_ != 0) {
    constexpr std::uint32_t batch = 256;
    for (std::uint32_t i = 0; i < batch && verify_next_ <= verify_until_; ++i)
      unverified_.push_back(verify_next_++);
    if (unverified_.empty()) {
      verify_until_ = 0;
      verify_next_ = 1;
      ++metrics_.verify_rounds;
    }
  }
  if (unverified_.empty()) return;
  const auto stop = steady_clock::now() + verify_slice;
  const std::uint32_t skipped = sqlite::lock_page(image_->page_size());
  while (!unverified_.empty() && steady_clock::now() < stop) {
    const std::uint32_t page = unverified_.back();
    unverified_.pop_back();
    if (page > image_->pages() || page == skipped || image_->in_generation(page)) continue;
    const auto found = hash_in_file(database_->value(), page, image_->page_size(), buffer_);
    if (found == image_->hash_of(page)) {
      verify_failures_ = 0;
      ++metrics_.verified_pages;
      if (image_->is_damaged(page)) image_->forget_damage(page);
      continue;
    }
    if (image_->is_damaged(page)) continue;
    if (++verify_failures_ < verify_attempts) {
      // The writer of the page may have been quicker than our reading of its commit: come again after that.
      unverified_.push_back(page);
      return;
    }
    verify_failures_ = 0;
    damage_file_ = status_;
    image_->note_damage(page, found);
    if (++metrics_.divergences <= reported_divergences) {
      log::error(path_, "page {} of the database file is not as it was last committed; copies keep what was",
                 page);
    }
  }
}

}  // namespace understudy::capture
