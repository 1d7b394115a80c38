#pragma once

// One daily replication of the databases of a server whose databases are at rest in between (mode `warm`): a
// thread that brings a new generation in step with the primary, ends the streams at a commit boundary, reads
// everything again from the disk and lets SQLite check it. The copy in use is not touched until
// switch_over().
//
// Threads: begin, cancel, switch_over and the destructor on the server's worker; state(): any.

#include <sys/stat.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "agent-failover/server/copy_layout.hpp"
#include "agent-failover/server/database_lane.hpp"
#include "understudy/v1/server.pb.h"

namespace understudy::os {
class directory;
class file;
}  // namespace understudy::os

namespace understudy::server {

struct daily_state {
  enum class phase {
    idle,       // none was begun
    copying,    // from the primary
    verifying,  // read again, and checked
    ready,      // whole and verified: switch_over() may come
    done,       // in use
    failed,     // `reason`; the copy in use is as it was
  };
  phase now = phase::idle;
  std::string reason{};
  std::uint64_t bytes_done = 0;  // of this phase
  std::uint64_t bytes_total = 0;
  // Of `ready` and `done`: what it goes without, by catalog, and why. Copies of these stay as they are.
  std::map<std::string, std::string> without{};
};

class daily_copy {
 public:
  daily_copy(os::file_system& fs, const copy_layout& layout, std::string server,
             std::function<void()> on_change);
  // Waits for the thread, which ends within a slice.
  ~daily_copy();

  // Of these databases. One of `may_lack` that the primary does not have, or that was found there once, is
  // gone without when all others are in step; the others are waited for.
  void begin(const v1::ServerSpec& spec, std::set<std::string> may_lack);
  // The streams' way to the agent; null: they pause.
  void use(std::shared_ptr<grpc::Channel> channel);
  // Ends soon, also while it runs; state() is idle then. Does not wait.
  void cancel();
  daily_state state() const;

  // Of `ready`: puts the new generation in the place of the copies, all or none. `live`: in the order of the
  // specification. `adapt` may change a new database before that, durably, and its image with it; it is told
  // the place in `live`.
  absl::Status switch_over(const std::vector<std::shared_ptr<database_lane>>& live,
                           const std::function<absl::Status(std::size_t, finished_image&)>& adapt = nullptr);
  // When the last one began: what it brings is not older.
  std::chrono::steady_clock::time_point begun_at() const { return begun_at_; }

 private:
  void run();
  absl::Status make();
  absl::Status seed(const v1::DatabaseSpec& database);
  absl::Status copy_in_use(const v1::DatabaseSpec& database, os::file& live, const struct ::stat& like,
                           os::directory& next);
  absl::Status bring_in_step();
  // The lanes of what the primary does not have end here, and what was to become theirs goes.
  absl::Status leave_out(std::map<std::string, std::string> without);
  absl::Status verify();
  bool cancelled() const { return cancelled_; }
  void show(daily_state state);

  os::file_system& fs_;
  const copy_layout layout_;
  const std::string server_;
  const std::function<void()> on_change_;

  std::thread thread_;
  v1::ServerSpec spec_;  // the thread's while there is one, as the next
  std::set<std::string> may_lack_;
  std::map<std::string, std::string> without_;
  std::chrono::steady_clock::time_point begun_at_;
  std::atomic<bool> cancelled_{false};
  std::vector<std::unique_ptr<database_lane>> lanes_;  // the thread's until it has ended
  std::vector<finished_image> images_;                 // of `ready`, in the order of the specification

  mutable std::mutex mutex_;  // guards what follows
  std::condition_variable changed_;
  daily_state state_;
  std::shared_ptr<grpc::Channel> channel_;
};

}  // namespace understudy::server
