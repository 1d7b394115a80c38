#pragma once

// Keeps the histories of one server's databases: a thread that writes them, and the bounds that they share.
// Their recorders may outlive it and then record nothing more. Threads: any.

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
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
  // The same without beginning one: null.
  std::shared_ptr<recorder> find(const std::string& catalog) const;
  const std::string& directory() const { return directory_; }

  void set_bounds(bounds within);
  // Removes the logs of databases that are not among these.
  absl::Status retain(const std::vector<std::string>& catalogs);
  // Removes all logs in a keeper's directory, and it. Nobody keeps any there.
  static absl::Status remove(os::file_system& fs, const std::string& directory);

 private:
  // By which recorders wake the thread; outlives it with them.
  struct bell {
    std::mutex mutex;
    std::condition_variable rung;
    bool wanted = false;
    bool stopping = false;
    void ring();
  };

  void run();
  bool make_room(std::uint64_t bytes);
  bool drop_one(const std::string& why);
  void tidy();

  os::file_system& fs_;
  const std::string server_;
  const std::string directory_;
  const std::shared_ptr<bell> bell_ = std::make_shared<bell>();

  mutable std::mutex mutex_;  // guards what follows
  bounds within_;
  std::map<std::string, std::shared_ptr<recorder>> recorders_;
  std::thread thread_;
};

}  // namespace understudy::history
