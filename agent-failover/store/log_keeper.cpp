#include "agent-failover/store/log_keeper.hpp"

#include <chrono>
#include <utility>

namespace understudy::store {
namespace {

constexpr std::chrono::seconds between_writes{1};
constexpr std::size_t most_lines = 10000;  // of one second; a storm beyond it is dropped

}  // namespace

log_keeper::log_keeper(std::shared_ptr<state_store> store)
    : store_(std::move(store)), thread_([this] { run(); }) {}

log_keeper::~log_keeper() {
  {
    std::lock_guard lock(mutex_);
    end_ = true;
  }
  ending_.notify_all();
  thread_.join();
}

void log_keeper::add(v1::LogLine line) {
  std::lock_guard lock(mutex_);
  if (lines_.size() < most_lines) lines_.push_back(std::move(line));
}

void log_keeper::run() {
  std::unique_lock lock(mutex_);
  for (bool last = false; !last;) {
    last = ending_.wait_for(lock, between_writes, [&] { return end_; });
    if (lines_.empty()) continue;
    changes what;
    what.log.swap(lines_);
    lock.unlock();
    // A failure is not logged: that line would come here too.
    (void)store_->commit(what).ok();
    lock.lock();
  }
}

}  // namespace understudy::store
