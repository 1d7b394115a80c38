#include "agent-primary/capture/captured_image.hpp"

#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <thread>
#include <utility>

namespace understudy::capture {
namespace {

using channel::source_event;
using channel::source_state;

constexpr std::uint32_t hashes_per_lock =
    16384;  // 256 KiB: the capture's thread never waits longer than this takes

constexpr std::chrono::milliseconds strict_wait{
    2};  // 16 times: most transactions and their comparison take less
constexpr std::uint64_t most_undelivered = 256 << 10;  // some 0.2 ms of reading
constexpr std::size_t retired_sample =
    64;  // pages checked per reset: a reset takes milliseconds, this 0.1 ms

std::span<const std::byte> bytes_of(const std::string& s) {
  return {reinterpret_cast<const std::byte*>(s.data()), s.size()};
}

}  // namespace

source_state captured_image::state() const {
  std::lock_guard lock(mutex_);
  source_state copy = state_;
  copy.combined = hashes_.combined();
  return copy;
}

std::vector<sqlite::page_hash> captured_image::hashes(std::uint32_t first, std::uint32_t count) const {
  std::vector<sqlite::page_hash> result;
  if (first == 0) return result;
  for (std::uint64_t next = first, end = std::uint64_t{first} + count; next < end;) {
    std::lock_guard lock(mutex_);
    const std::uint64_t stop = std::min({end, next + hashes_per_lock, std::uint64_t{hashes_.size()} + 1});
    if (stop <= next) break;
    for (; next < stop; ++next) result.push_back(hashes_.at(static_cast<std::uint32_t>(next)));
  }
  return result;
}

std::vector<sqlite::page_hash> captured_image::block_hashes(std::uint32_t first, std::uint32_t block_pages,
                                                            std::uint32_t count) const {
  std::vector<sqlite::page_hash> result;
  if (first == 0 || block_pages == 0) return result;
  std::uint64_t start = first;
  for (std::uint32_t block = 0; block < count; ++block, start += block_pages) {
    sqlite::page_hash hash;
    bool any = false;
    for (std::uint64_t next = start, end = start + block_pages; next < end; next += hashes_per_lock) {
      std::lock_guard lock(mutex_);
      if (next > hashes_.size()) break;
      any = true;
      hash ^= hashes_.combined_range(
          static_cast<std::uint32_t>(next),
          static_cast<std::uint32_t>(std::min<std::uint64_t>(hashes_per_lock, end - next)));
    }
    if (!any) break;
    result.push_back(hash);
  }
  return result;
}

captured_image::place captured_image::place_of(std::uint32_t page) const {
  place where{.database = database_, .log = log_, .salt = salt_, .page_size = state_.page_size};
  if (const auto it = frame_of_page_.find(page); it != frame_of_page_.end()) where.frame = it->second;
  return where;
}

bool captured_image::read_at(const place& where, std::uint32_t page, std::string& bytes) {
  if (where.frame == 0) {
    bytes.assign(where.page_size, '\0');  // past the end of the file SQLite reads zeros, too
    if (!where.database) return false;
    return ::pread(where.database->value(), bytes.data(), bytes.size(),
                   static_cast<off_t>(std::uint64_t{page - 1} * where.page_size)) >= 0;
  }
  std::array<std::byte, sqlite::wal_frame_header_bytes> header;
  const auto offset = static_cast<off_t>(sqlite::frame_offset(where.frame, where.page_size));
  bytes.resize(where.page_size);
  const auto header_size = static_cast<ssize_t>(header.size());
  if (::pread(where.log->value(), header.data(), header.size(), offset) != header_size ||
      ::pread(where.log->value(), bytes.data(), bytes.size(), offset + header_size) !=
          static_cast<ssize_t>(bytes.size())) {
    return false;
  }
  const auto frame = sqlite::parse_frame_header(header);
  return frame.page_number == page && frame.salt == where.salt;
}

absl::StatusOr<channel::page_image> captured_image::read_page(std::uint32_t number) const {
  channel::page_image image{.number = number, .bytes = {}};
  constexpr int attempts = 16;  // each one meets a newer commit or checkpoint; the last reading counts anyway
  bool strict = false;
  bool damaged = false;
  for (int attempt = 0; attempt < attempts && !damaged; ++attempt) {
    place where;
    sqlite::page_hash expected;
    {
      std::lock_guard lock(mutex_);
      if (state_.now != source_state::phase::ready) {
        return absl::UnavailableError(fmt::format("read page {}: the database is not ready", number));
      }
      if (number == 0 || number > hashes_.size()) {
        return absl::OutOfRangeError(
            fmt::format("read page {}: the database has {} pages", number, hashes_.size()));
      }
      where = place_of(number);
      expected = hashes_.at(number);
      strict = strict_;
      damaged = where.frame == 0 && damaged_.contains(number);
      if (damaged) damage_wanted_.insert(number);
    }
    if (number == sqlite::lock_page(where.page_size)) {
      image.bytes.assign(where.page_size, '\0');
      return image;
    }
    const bool whole = read_at(where, number, image.bytes);
    if (whole && sqlite::hash_page(number, bytes_of(image.bytes)) == expected) return image;
    if (strict) std::this_thread::sleep_for(strict_wait);
  }
  if (strict) {
    return absl::UnavailableError(
        fmt::format("read page {}: the application is writing it; try again", number));
  }
  return image;
}

std::string captured_image::read_newest(std::uint32_t page) const {
  std::string bytes;
  place where = place_of(page);
  if (!read_at(where, page, bytes)) {
    where.frame = 0;
    read_at(where, page, bytes);
  }
  return bytes;
}

absl::StatusOr<std::unique_ptr<channel::source_subscription>> captured_image::subscribe() {
  std::lock_guard lock(mutex_);
  if (state_.now != source_state::phase::ready) {
    return absl::FailedPreconditionError(fmt::format("subscribe: the database is not ready{}{}",
                                                     state_.reason.empty() ? "" : ": ", state_.reason));
  }
  auto queue = std::make_shared<transaction_queue>(queue_limit_bytes_);
  queues_.push_back(queue);
  subscribers_.store(queues_.size(), std::memory_order_relaxed);
  source_state base = state_;
  base.combined = hashes_.combined();
  auto leave = [weak = weak_from_this(), queue] {
    if (auto self = weak.lock()) {
      std::lock_guard inner(self->mutex_);
      std::erase(self->queues_, queue);
      self->subscribers_.store(self->queues_.size(), std::memory_order_relaxed);
    }
  };
  return make_subscription(std::move(queue), std::move(base), std::move(leave));
}

bool captured_image::looked_since(std::chrono::steady_clock::time_point asked) {
  if (looked_.load() >= asked) return true;
  look_asked_ = true;
  wake_();
  return false;
}

void captured_image::end_subscriptions(source_event::kind how, const std::string& reason) {
  std::vector<std::shared_ptr<transaction_queue>> ended;
  {
    std::lock_guard lock(mutex_);
    ended.swap(queues_);
    subscribers_.store(0, std::memory_order_relaxed);
  }
  for (const auto& queue : ended) {
    queue->end(how, reason);
    queue->notify();
  }
}

void captured_image::set_unavailable(source_state::phase phase, const std::string& reason) {
  {
    std::lock_guard lock(mutex_);
    const std::uint64_t number = state_.number;
    state_ = {};
    state_.now = phase;
    state_.reason = reason;
    state_.number = number;
    hashes_ = {};
    frame_of_page_.clear();
    written_ = {};
    damaged_.clear();
    damage_wanted_.clear();
    database_.reset();
    log_.reset();
  }
  end_subscriptions(source_event::kind::gap, reason);
}

void captured_image::begin_scan(shared_fd database, std::uint32_t page_size, std::uint32_t pages,
                                const std::string& reason) {
  {
    std::lock_guard lock(mutex_);
    state_.now = source_state::phase::scanning;
    state_.reason = reason;
    state_.page_size = page_size;
    state_.database_pages = pages;
    state_.scanned_bytes = 0;
    state_.total_bytes = std::uint64_t{pages} * page_size;
    hashes_.clear();
    hashes_.resize(pages);
    written_.assign(std::size_t{pages} + 1, false);
    frame_of_page_.clear();
    database_ = std::move(database);
    log_.reset();
  }
  end_subscriptions(source_event::kind::gap, reason);
}

void captured_image::add_scanned(std::uint32_t first, std::span<const sqlite::page_hash> hashes) {
  std::lock_guard lock(mutex_);
  const std::uint32_t skipped = sqlite::lock_page(state_.page_size);
  for (std::size_t i = 0; i < hashes.size(); ++i) {
    const std::uint32_t page = first + static_cast<std::uint32_t>(i);
    if (page > state_.database_pages) break;
    if (page != skipped && !is_written_since_scan(page)) hashes_.set(page, hashes[i]);
  }
  state_.scanned_bytes += std::uint64_t{hashes.size()} * state_.page_size;
}

void captured_image::end_scan() {
  std::lock_guard lock(mutex_);
  std::erase_if(damaged_, [this](const auto& one) {
    const auto& [page, what] = one;
    if (page > hashes_.size() || is_written_since_scan(page) || hashes_.at(page) != what.found) return true;
    hashes_.set(page, what.committed);
    return false;
  });
  state_.now = source_state::phase::ready;
  state_.reason.clear();
  state_.total_bytes = std::uint64_t{state_.database_pages} * state_.page_size;
  state_.scanned_bytes = state_.total_bytes;
  written_ = {};
}

void captured_image::note_damage(std::uint32_t page, const sqlite::page_hash& found) {
  std::lock_guard lock(mutex_);
  damaged_.insert_or_assign(page, damage{hashes_.at(page), found});
}

void captured_image::forget_damage(std::uint32_t page) {
  std::lock_guard lock(mutex_);
  damaged_.erase(page);
}

void captured_image::forget_damage() {
  std::lock_guard lock(mutex_);
  damaged_.clear();
  damage_wanted_.clear();
}

void captured_image::give_up_wanted_damage() {
  log_transaction transaction;
  {
    std::lock_guard lock(mutex_);
    for (const std::uint32_t page : damage_wanted_) {
      if (!damaged_.contains(page) || frame_of_page_.contains(page)) continue;
      std::string bytes;
      if (!read_at(place_of(page), page, bytes)) continue;
      transaction.frames.push_back(
          {.page = page, .number = 0, .hash = sqlite::hash_page(page, bytes_of(bytes))});
      transaction.page_bytes += bytes.size();
      transaction.pages.push_back({.number = page, .bytes = std::move(bytes)});
    }
    damage_wanted_.clear();
  }
  if (transaction.frames.empty()) return;
  transaction.page_size = state_.page_size;
  transaction.commit_pages = state_.database_pages;
  apply(transaction);
}

void captured_image::set_scanned(std::uint32_t pages) {
  std::lock_guard lock(mutex_);
  state_.scanned_bytes = std::uint64_t{pages} * state_.page_size;
}

void captured_image::set_strict(bool strict) {
  std::lock_guard lock(mutex_);
  strict_ = strict;
}

void captured_image::lose(const std::string& reason) {
  {
    std::lock_guard lock(mutex_);
    state_.now = source_state::phase::scanning;
    state_.reason = reason;
    state_.scanned_bytes = 0;
  }
  end_subscriptions(source_event::kind::gap, reason);
}

void captured_image::close(const std::string& reason) {
  {
    std::lock_guard lock(mutex_);
    state_.now = source_state::phase::refused;
    state_.reason = reason;
    database_.reset();
    log_.reset();
  }
  end_subscriptions(source_event::kind::closed, reason);
}

void captured_image::retire(std::size_t most) {
  for (const auto& [page, frame] : frame_of_page_) {
    if (most-- == 0) break;
    retired_.push_back(page);
  }
  frame_of_page_.clear();
}

void captured_image::begin_generation(shared_fd log, sqlite::salts salt) {
  std::lock_guard lock(mutex_);
  retire(retired_sample);
  log_ = std::move(log);
  salt_ = salt;
}

void captured_image::end_generation() {
  std::lock_guard lock(mutex_);
  retire(frame_of_page_.size());
  log_.reset();
}

void captured_image::apply(log_transaction& transaction) {
  channel::captured_transaction out;
  out.page_size = state_.page_size;
  out.database_pages = transaction.commit_pages;
  out.captured_at = std::chrono::system_clock::now();
  const std::uint32_t skipped = sqlite::lock_page(state_.page_size);
  const std::uint32_t old_pages = state_.database_pages;
  std::vector<std::shared_ptr<transaction_queue>> ended;
  {
    std::lock_guard lock(mutex_);
    const bool deliverable = !queues_.empty() && complete_pages(transaction);
    out.hash_before = hashes_.combined();
    std::uint32_t new_pages_written = 0;
    const std::size_t known = std::min<std::size_t>(old_pages, transaction.commit_pages);
    if (transaction.commit_pages != hashes_.size()) hashes_.resize(transaction.commit_pages);
    if (!written_.empty() && written_.size() <= transaction.commit_pages) {
      written_.resize(std::size_t{transaction.commit_pages} + 1);
    }
    std::vector<bool> arrived(transaction.commit_pages - known);
    for (std::size_t i = 0; i < transaction.frames.size(); ++i) {
      const auto& frame = transaction.frames[i];
      if (frame.number != 0) frame_of_page_[frame.page] = frame.number;
      if (!damaged_.empty()) damaged_.erase(frame.page);
      if (frame.page > transaction.commit_pages || frame.page == skipped) continue;
      hashes_.set(frame.page, frame.hash);
      if (!written_.empty()) written_[frame.page] = true;
      if (frame.page > known && !arrived[frame.page - known - 1]) {
        arrived[frame.page - known - 1] = true;
        ++new_pages_written;
      }
      if (deliverable) out.pages.push_back(std::move(transaction.pages[i]));
    }
    // SQLite does not log a new page that it has put on the freelist at once. Such a page is whatever SQLite
    // would read there, so that both sides agree about every byte.
    std::uint64_t expected = transaction.commit_pages - known;
    if (skipped > known && skipped <= transaction.commit_pages) --expected;
    if (new_pages_written != expected) {
      for (std::size_t i = 0; i < arrived.size(); ++i) {
        const auto page = static_cast<std::uint32_t>(known + i + 1);
        if (arrived[i] || page == skipped) continue;
        std::string bytes = read_newest(page);
        hashes_.set(page, sqlite::hash_page(page, bytes_of(bytes)));
        if (!written_.empty()) written_[page] = true;
        if (deliverable) out.pages.push_back({.number = page, .bytes = std::move(bytes)});
      }
    }
    damaged_.erase(damaged_.upper_bound(transaction.commit_pages), damaged_.end());
    state_.database_pages = transaction.commit_pages;
    out.hash_after = hashes_.combined();
    out.number = ++state_.number;
    if (deliverable) {
      for (std::size_t i = 0; i + 1 < queues_.size(); ++i) queues_[i]->push(out);
      queues_.back()->push(std::move(out));
    } else {
      ended.swap(queues_);
      subscribers_.store(0, std::memory_order_relaxed);
    }
  }
  for (const auto& queue : ended) {
    queue->end(source_event::kind::gap,
               fmt::format("one transaction of {} MiB does not fit the queue of {} MiB",
                           transaction.page_bytes >> 20, queue_limit_bytes_ >> 20));
    queue->notify();
  }
  undelivered_bytes_ += transaction.page_bytes + 1;
  if (undelivered_bytes_ > most_undelivered) deliver();
}

void captured_image::deliver() {
  if (std::exchange(undelivered_bytes_, 0) != 0) notify_subscribers();
}

// A subscription may begin while a transaction is being read; what was not kept then is read again.
bool captured_image::complete_pages(log_transaction& transaction) const {
  if (transaction.pages_complete) return true;
  if (transaction.page_bytes > queue_limit_bytes_) return false;
  transaction.pages.clear();
  for (const auto& frame : transaction.frames) {
    channel::page_image image{.number = frame.page, .bytes = {}};
    const place where{
        .database = {}, .log = log_, .salt = salt_, .frame = frame.number, .page_size = state_.page_size};
    if (!log_ || !read_at(where, frame.page, image.bytes) ||
        sqlite::hash_page(frame.page, bytes_of(image.bytes)) != frame.hash) {
      return false;
    }
    transaction.pages.push_back(std::move(image));
  }
  return true;
}

void captured_image::notify_subscribers() {
  if (!has_subscribers()) return;
  std::vector<std::shared_ptr<transaction_queue>> queues;
  {
    std::lock_guard lock(mutex_);
    queues = queues_;
  }
  for (const auto& queue : queues) queue->notify();
}

}  // namespace understudy::capture
