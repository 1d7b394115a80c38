#include "common/actor/exit_deadline.hpp"

#include <unistd.h>

#include <condition_variable>
#include <mutex>
#include <thread>

#include "common/log/log.hpp"

namespace understudy::actors {

struct exit_deadline::shared {
  std::mutex mutex;
  std::condition_variable changed;
  bool done = false;
};

exit_deadline::exit_deadline(std::chrono::milliseconds grace, int status, std::string what)
    : shared_(std::make_shared<shared>()) {
  std::thread([state = shared_, grace, status, what = std::move(what)] {
    std::unique_lock lock(state->mutex);
    if (state->changed.wait_for(lock, grace, [&] { return state->done; })) return;
    log::error("", "{} did not end within {} ms; ending the process", what, grace.count());
    ::_exit(status);
  }).detach();
}

exit_deadline::~exit_deadline() {
  {
    std::lock_guard lock(shared_->mutex);
    shared_->done = true;
  }
  shared_->changed.notify_one();
}

}  // namespace understudy::actors
