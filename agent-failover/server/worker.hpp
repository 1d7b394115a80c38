#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <string>
#include <thread>

namespace understudy::server {

// One thread that runs jobs in the order given: whatever may block on a server's behalf (disk, agent,
// application) runs here, never in an actor. Jobs report by sending messages. Any thread may post; the
// destructor finishes the running job and drops the rest.
class worker {
 public:
  explicit worker(const std::string& name);
  ~worker();
  worker(const worker&) = delete;
  worker& operator=(const worker&) = delete;

  void post(std::function<void()> job);

 private:
  void run();

  std::mutex mutex_;
  std::condition_variable woken_;
  std::deque<std::function<void()>> jobs_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace understudy::server
