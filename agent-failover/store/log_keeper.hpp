#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "agent-failover/store/state_store.hpp"

namespace understudy::store {

// Keeps the daemon's log across restarts: lines are written to state.db once a second, together, so that a
// chatty hour costs no more syncs than a quiet one. What could not be written is dropped; the system's
// journal has it. Any thread may add; the destructor writes the rest.
class log_keeper {
 public:
  explicit log_keeper(std::shared_ptr<state_store> store);
  ~log_keeper();
  log_keeper(const log_keeper&) = delete;
  log_keeper& operator=(const log_keeper&) = delete;

  void add(v1::LogLine line);

 private:
  void run();

  const std::shared_ptr<state_store> store_;
  std::mutex mutex_;
  std::condition_variable ending_;
  std::vector<v1::LogLine> lines_;
  bool end_ = false;
  std::thread thread_;
};

}  // namespace understudy::store
