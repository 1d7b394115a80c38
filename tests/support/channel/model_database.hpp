#pragma once

// A database that exists only in memory, seen by a capture that lags behind it: the source of the channel's
// tests.

#include <algorithm>
#include <deque>
#include <functional>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "common/channel/database_source.hpp"
#include "common/sqlite/page_hash.hpp"

namespace understudy::test {

using image = std::vector<std::string>;  // pages from 1 at index 0

inline sqlite::page_hash hash_of(std::uint32_t number, const std::string& bytes) {
  return sqlite::hash_page(number, std::as_bytes(std::span{bytes}));
}

inline sqlite::page_hash hash_of(const image& pages) {
  sqlite::page_hash result;
  for (std::size_t i = 0; i < pages.size(); ++i)
    result ^= hash_of(static_cast<std::uint32_t>(i + 1), pages[i]);
  return result;
}

class model_database : public channel::database_source {
 public:
  using random = std::mt19937_64;
  explicit model_database(std::uint64_t seed, std::uint32_t page_size = 512)
      : random_{seed}, page_size_{page_size} {}

  // The application commits; the capture does not know yet.
  void commit(std::uint32_t changes, std::uint32_t database_pages) {
    channel::captured_transaction transaction;
    transaction.page_size = page_size_;
    transaction.database_pages = database_pages;
    const auto old_size = static_cast<std::uint32_t>(truth_.size());
    std::vector<std::uint32_t> numbers;
    for (std::uint32_t page = old_size + 1; page <= database_pages; ++page) numbers.push_back(page);
    for (std::uint32_t i = 0; i < changes; ++i) {
      numbers.push_back(static_cast<std::uint32_t>(random_() % std::max(1u, database_pages)) + 1);
    }
    truth_.resize(database_pages);
    for (const std::uint32_t number : numbers) {
      std::string bytes(page_size_, '\0');
      for (std::size_t at = 0; at < bytes.size(); at += 64) bytes[at] = static_cast<char>(random_());
      truth_[number - 1] = bytes;
      transaction.pages.push_back({number, std::move(bytes)});
    }
    uncaptured_.push_back(std::move(transaction));
  }
  void change_page_size(std::uint32_t page_size) {
    page_size_ = page_size;
    const auto pages = static_cast<std::uint32_t>(truth_.size());
    truth_.clear();
    commit(0, pages);
  }
  std::size_t uncaptured() const { return uncaptured_.size(); }
  std::uint32_t pages() const { return static_cast<std::uint32_t>(truth_.size()); }
  const image& truth() const { return truth_; }

  // The capture is another one: it counts from the image that it found.
  void recount() { number_ = 0; }

  // The capture sees the next commit.
  void capture() {
    if (uncaptured_.empty()) return;
    channel::captured_transaction transaction = std::move(uncaptured_.front());
    uncaptured_.pop_front();
    transaction.number = ++number_;
    transaction.hash_before = hashes_.combined();
    captured_page_size_ = transaction.page_size;
    hashes_.resize(transaction.database_pages);
    for (const auto& page : transaction.pages) {
      if (page.number <= transaction.database_pages)
        hashes_.set(page.number, hash_of(page.number, page.bytes));
    }
    transaction.hash_after = hashes_.combined();
    remember();
    for (subscription* each : subscriptions_) each->push(transaction);
  }
  // The capture loses continuity: it scans, and knows the present image again.
  void gap() {
    number_ += uncaptured_.size();
    uncaptured_.clear();
    captured_page_size_ = page_size_;
    hashes_.clear();
    for (std::uint32_t page = 1; page <= pages(); ++page) hashes_.set(page, hash_of(page, truth_[page - 1]));
    remember();
    for (subscription* each : subscriptions_) each->gap("commits missed");
  }

  // The last number at which the image had this hash; 0: never committed.
  std::uint64_t number_of(const sqlite::page_hash& hash) const {
    const auto it = history_.find({hash.high, hash.low});
    return it == history_.end() ? 0 : it->second;
  }

  channel::source_state::phase phase = channel::source_state::phase::ready;
  std::size_t queue_limit = 1000;  // transactions
  // Runs before each look at hashes and pages: what a capture on its own thread does between two calls.
  std::function<void()> meanwhile;

  channel::source_state state() const override {
    return {.now = phase,
            .reason = {},
            .scanned_bytes = 0,
            .total_bytes = 0,
            .page_size = captured_page_size_,
            .database_pages = hashes_.size(),
            .combined = hashes_.combined(),
            .number = number_};
  }
  std::vector<sqlite::page_hash> hashes(std::uint32_t first, std::uint32_t count) const override {
    return block_hashes(first, 1, count);
  }
  std::vector<sqlite::page_hash> block_hashes(std::uint32_t first, std::uint32_t block,
                                              std::uint32_t count) const override {
    if (meanwhile) meanwhile();
    std::vector<sqlite::page_hash> result;
    for (std::uint32_t i = 0; i < count && first + i * block <= hashes_.size(); ++i) {
      result.push_back(hashes_.combined_range(first + i * block, block));
    }
    return result;
  }
  // As a capture may: newer than what it published, or torn while a checkpoint writes the page.
  absl::StatusOr<channel::page_image> read_page(std::uint32_t number) const override {
    if (meanwhile) meanwhile();
    if (number > truth_.size()) return absl::OutOfRangeError("past the end");
    channel::page_image page{number, truth_[number - 1]};
    const bool ahead = !(hash_of(number, page.bytes) ==
                         (number <= hashes_.size() ? hashes_.at(number) : sqlite::page_hash{}));
    if (ahead && random_() % 2 == 0) std::fill(page.bytes.begin(), page.bytes.begin() + 100, 'T');
    return page;
  }
  absl::StatusOr<std::unique_ptr<channel::source_subscription>> subscribe() override {
    if (phase != channel::source_state::phase::ready) return absl::UnavailableError("not ready");
    return std::make_unique<subscription>(*this);
  }

 private:
  class subscription final : public channel::source_subscription {
   public:
    explicit subscription(model_database& source) : source_{source}, base_{source.state()} {
      source_.subscriptions_.push_back(this);
    }
    ~subscription() override { std::erase(source_.subscriptions_, this); }
    const channel::source_state& base() const override { return base_; }
    channel::source_event next(std::chrono::steady_clock::time_point) override {
      if (events_.empty()) return {};
      channel::source_event event = std::move(events_.front());
      events_.pop_front();
      return event;
    }
    void set_ready_callback(std::function<void()> callback) override { callback_ = std::move(callback); }
    void push(const channel::captured_transaction& transaction) {
      if (over_) return;
      if (events_.size() >= source_.queue_limit) return gap("queue overflow");
      events_.push_back(
          {.what = channel::source_event::kind::transaction, .transaction = transaction, .reason = {}});
      if (callback_) callback_();
    }
    void gap(const std::string& reason) {
      if (over_) return;
      over_ = true;
      events_.clear();
      events_.push_back({.what = channel::source_event::kind::gap, .transaction = {}, .reason = reason});
      if (callback_) callback_();
    }

   private:
    model_database& source_;
    channel::source_state base_;
    std::deque<channel::source_event> events_;
    std::function<void()> callback_;
    bool over_ = false;
  };

  void remember() {
    const sqlite::page_hash& hash = hashes_.combined();
    history_[{hash.high, hash.low}] = number_;
  }

  mutable random random_;
  std::uint32_t page_size_;
  image truth_;
  std::deque<channel::captured_transaction> uncaptured_;
  std::uint32_t captured_page_size_ = 0;
  sqlite::page_hash_array hashes_;
  std::uint64_t number_ = 0;
  std::map<std::pair<std::uint64_t, std::uint64_t>, std::uint64_t> history_;
  std::vector<subscription*> subscriptions_;
};

}  // namespace understudy::test
