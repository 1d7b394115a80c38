#pragma once

// Restores of past moments, each on a thread of its own, shown as operations; and of deleted files. They read
// the past of a copy and disturb neither it nor the actor that looks after it, so neither knows of them.
// Threads: any.

#include <atomic>
#include <chrono>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "agent-failover/api/control.hpp"
#include "agent-failover/history/database_history.hpp"

namespace understudy::api {
class board;
}
namespace understudy::os {
class file_system;
}
namespace understudy::server {
class copy_layout;
class histories;
}  // namespace understudy::server

namespace understudy::actors {

class restorer {
 public:
  // `forbidden`: whose copy or state a path lies in, in words; empty: nobody's. Called with a resolved path.
  restorer(os::file_system& fs, api::board& board, const server::histories& past,
           std::function<std::string(const std::string&)> forbidden);
  // Ends the running ones.
  ~restorer();

  api::command_result restore(const api::restore_request& request);
  // Writes a deleted file to `request.to`, at once, and says so, in words. `go_on` is asked now and then.
  absl::StatusOr<std::string> restore_file(const v1::ServerSpec& spec, const server::copy_layout& layout,
                                           const v1::RestoreDeletedFileRequest& request,
                                           const std::string& actor, const std::function<bool()>& go_on);
  // Ends it, if it runs and is one of these.
  bool cancel(const std::string& operation);

 private:
  struct job {
    std::string operation;
    std::atomic<bool> cancelled{false};
    std::atomic<bool> ended{false};
    std::thread thread;
  };
  struct target {
    std::string directory;  // resolved
    std::string name;
  };

  absl::StatusOr<target> check_target(const std::string& path) const;
  void tidy();

  os::file_system& fs_;
  api::board& board_;
  const server::histories& past_;
  const std::function<std::string(const std::string&)> forbidden_;
  std::mutex mutex_;
  std::list<std::unique_ptr<job>> jobs_;
};

}  // namespace understudy::actors
