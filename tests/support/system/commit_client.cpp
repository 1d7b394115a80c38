#include "tests/support/system/commit_client.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "tests/support/wait.hpp"

namespace understudy::test {

commit_client::commit_client(host& where, std::string prefix, submit send, std::chrono::milliseconds pause)
    : where_(where), prefix_(std::move(prefix)), send_(std::move(send)), pause_(pause), thread_([this] {
        where_.call([this] { run(); });
      }) {}

commit_client::~commit_client() {
  stop();
}

void commit_client::stop() {
  stopping_ = true;
  if (thread_.joinable()) thread_.join();
}

void commit_client::run() {
  auto next = std::chrono::steady_clock::now();
  for (std::size_t number = 1; !stopping_; ++number) {
    const commit_attempt attempt{
        .id = fmt::format("{}{:06}", prefix_, number), .begun = wall_clock::now(), .confirmed = {}};
    {
      const std::lock_guard lock(mutex_);
      attempts_.push_back(attempt);
    }
    if (send_(attempt.id)) {
      const auto now = wall_clock::now();
      const std::lock_guard lock(mutex_);
      attempts_.back().confirmed = now;
    }
    next = std::max(next + pause_, std::chrono::steady_clock::now());
    std::this_thread::sleep_until(next);  // the client's pace
  }
}

std::vector<commit_attempt> commit_client::attempts() const {
  const std::lock_guard lock(mutex_);
  return attempts_;
}

std::vector<std::string> commit_client::confirmed(wall_clock::time_point until) const {
  std::vector<std::string> ids;
  const std::lock_guard lock(mutex_);
  for (const auto& one : attempts_)
    if (one.confirmed && *one.confirmed <= until) ids.push_back(one.id);
  return ids;
}

std::size_t commit_client::confirmed_count() const {
  const std::lock_guard lock(mutex_);
  return static_cast<std::size_t>(std::count_if(attempts_.begin(), attempts_.end(),
                                                [](const auto& one) { return one.confirmed.has_value(); }));
}

bool commit_client::wait_confirmed(std::size_t count, wall_clock::time_point since,
                                   std::chrono::milliseconds within) const {
  return wait_until(
      [&] {
        const std::lock_guard lock(mutex_);
        std::size_t found = 0;
        for (auto one = attempts_.rbegin(); one != attempts_.rend() && one->begun >= since; ++one)
          found += one->confirmed.has_value() ? 1 : 0;
        return found >= count;
      },
      within);
}

outage commit_client::longest_outage(wall_clock::time_point from, wall_clock::time_point to) const {
  const std::lock_guard lock(mutex_);
  outage longest{from, from};
  std::optional<wall_clock::time_point> last;  // also the last one before `from`: an outage may begin with it
  for (const auto& one : attempts_) {
    if (!one.confirmed) continue;
    if (last && *one.confirmed >= from && *one.confirmed - *last > longest.first_after - longest.last_before)
      longest = {*last, *one.confirmed};
    last = one.confirmed;
    if (*last > to) break;
  }
  return longest;
}

}  // namespace understudy::test
