#include "agent-primary/service/restore_turns.hpp"

#include <fmt/core.h>

#include <chrono>
#include <utility>

namespace understudy::service {
namespace {

constexpr std::chrono::milliseconds ask_again{100};  // whether the caller still waits

}  // namespace

absl::StatusOr<std::shared_ptr<void>> restore_turns::enter(const std::string& what,
                                                           std::function<void()> give_up,
                                                           const std::function<bool()>& waits) {
  std::unique_lock lock(mutex_);
  line& here = lines_[what];
  const std::uint64_t mine = ++here.newest;
  left_.notify_all();  // who waits already is overtaken
  while (here.present != 0) {
    here.give_up();
    left_.wait_for(lock, ask_again);
    if (here.newest != mine) {
      return absl::AbortedError(fmt::format("a newer restore of {} has begun", what));
    }
    lock.unlock();
    const bool still = waits();
    lock.lock();
    if (!still) return absl::CancelledError("the caller went away");
  }
  if (here.newest != mine) return absl::AbortedError(fmt::format("a newer restore of {} has begun", what));
  here.present = mine;
  here.give_up = std::move(give_up);
  return std::shared_ptr<void>(this, [what, mine](restore_turns* turns) { turns->leave(what, mine); });
}

void restore_turns::leave(const std::string& what, std::uint64_t mine) {
  std::lock_guard lock(mutex_);
  line& here = lines_[what];
  if (here.present != mine) return;
  here.present = 0;
  here.give_up = nullptr;
  left_.notify_all();
}

}  // namespace understudy::service
