#pragma once

// Keeps the histories of one server's databases: a thread that writes them, and the bounds that they share.
// Threads: any.

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "agent-failover/history/recorder.hpp"
#include "common/os/file_system.hpp"

namespace understudy::history {

struct bounds {
  std::chrono::seconds age = std::chrono::hours(24);
  std::uint64_t bytes = 1ull << 30;  // of all of the server's databases together
};

class keeper {
 public:
  // `directory` (absolute) is made when the first log is.
  keeper(os::file_system& fs, std::string server, std::string directory, bounds within);
  ~keeper();
  keeper(const keeper&) = delete;

  // The history of a database's copy; always the same one for a catalog.
  std::shared_ptr<recorder> history_of(const std::string& catalog);

 private:
  void run();
  bool make_room(std::uint64_t bytes);
  bool drop_one(const std::string& why);
  void tidy();

  os::file_system& fs_;
  const std::string server_;
  const std::string directory_;
  const bounds within_;

  std::mutex mutex_;
  std::condition_variable woken_;
  bool wanted_ = false;
  bool stopping_ = false;
  std::map<std::string, std::shared_ptr<recorder>> recorders_;
  std::thread thread_;
};

}  // namespace understudy::history
