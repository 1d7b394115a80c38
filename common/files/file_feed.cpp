#include "common/files/file_feed.hpp"

#include <algorithm>
#include <random>
#include <utility>

namespace understudy::files {
namespace {

std::uint64_t random_id() {
  std::random_device source;
  return (std::uint64_t{source()} << 32 | source()) | 1;
}

std::size_t bytes_of(const applied_change& change) {
  return sizeof change + change.path.size() + change.from.size() + change.target.size() +
         change.reason.size();
}

}  // namespace

file_feed::file_feed(file_feed_bounds bounds) : bounds_(bounds), id_(random_id()) {}

void file_feed::add(std::vector<applied_change>&& changes) {
  if (changes.empty()) return;
  entry_list added;
  added.reserve(changes.size());
  std::size_t bytes = 0;
  for (applied_change& change : changes) {
    bytes += bytes_of(change);
    added.push_back(std::make_shared<const applied_change>(std::move(change)));
  }
  entry_list fallen_out;  // freed when nobody waits for the lock
  {
    const std::lock_guard lock(mutex_);
    kept_.insert(kept_.end(), std::make_move_iterator(added.begin()), std::make_move_iterator(added.end()));
    last_ += changes.size();
    bytes_ += bytes;
    while (kept_.size() > bounds_.changes || (bytes_ > bounds_.bytes && kept_.size() > 1)) {
      bytes_ -= bytes_of(*kept_.front());
      fallen_out.push_back(std::move(kept_.front()));
      kept_.pop_front();
    }
  }
  more_.notify_all();
}

std::uint64_t file_feed::last() const {
  const std::lock_guard lock(mutex_);
  return last_;
}

std::uint64_t file_feed::before_oldest() const {
  const std::lock_guard lock(mutex_);
  return last_ - kept_.size();
}

file_feed::portion file_feed::read(std::uint64_t position, std::size_t most,
                                   std::chrono::milliseconds patience) const {
  portion taken;
  std::unique_lock lock(mutex_);
  more_.wait_for(lock, patience, [&] { return last_ > position; });
  const std::uint64_t before = last_ - kept_.size();
  const std::uint64_t from = std::clamp(position, before, last_);
  taken.missing = from > position ? from - position : 0;
  taken.first = from + 1;
  const auto begin = kept_.begin() + static_cast<std::ptrdiff_t>(from - before);
  const auto count = std::min<std::size_t>(most, static_cast<std::size_t>(last_ - from));
  taken.changes.assign(begin, begin + static_cast<std::ptrdiff_t>(count));
  return taken;
}

}  // namespace understudy::files
