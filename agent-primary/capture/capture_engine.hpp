#pragma once

// Follows live SQLite databases that belong to other processes, by reading only. One thread (real-time where
// the system permits) serves every database: it polls the wal-index of the active ones and sleeps on one
// inotify instance for the others. It never opens a database with libsqlite, never writes a byte, and never
// creates -wal or -shm. It holds no more than a shared lock on one byte of -shm, for milliseconds, while it
// lags (pin.hpp).
//
// Who uses it: the agent on the primary, and the failover host at failback, over the copy that its stand-in
// writes. A process that runs a capture must not open the same database with libsqlite: closing any
// descriptor of a file drops the process's POSIX locks on it, SQLite's own included.

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "agent-primary/capture/capture_metrics.hpp"
#include "common/channel/database_source.hpp"

namespace understudy::capture {

struct capture_options {
  bool real_time = true;  // SCHED_FIFO where allowed, not during long scans
  std::chrono::microseconds shortest_poll{
      50};  // of an active database's wal-index; doubles up to longest_poll
  std::chrono::microseconds longest_poll{1000};
  std::chrono::milliseconds active_for{25};  // polled this long after the last sign of life, then inotify
  std::chrono::milliseconds safety_poll{
      250};  // of an idle database: what inotify did not tell; many share the time
  std::chrono::milliseconds longest_pin{100};  // then the application may reset its log and we heal
  std::chrono::microseconds scan_slice{1000};  // hashing between two polls of the log
  // A database in rollback-journal mode that is locked exclusively for so long without a break is refused.
  std::chrono::milliseconds exclusive_limit{10'000};
  std::chrono::hours verify_period{24};  // the whole file is compared with the hashes once in this time
  std::uint64_t queue_limit_bytes = 64u << 20;  // per subscription; beyond it the subscriber gets a gap
};

// Thread-safe.
class capture_engine {
 public:
  static absl::StatusOr<std::unique_ptr<capture_engine>> start(capture_options options = {});
  // Ends every subscription with `closed` and joins the thread. Sources that are still held stay valid and
  // refused.
  ~capture_engine();

  // Starts to follow the database at this absolute path, which need not exist yet. The same path gives the
  // same source until it is removed.
  std::shared_ptr<channel::database_source> add(std::string path);
  // Its subscriptions end with `closed`. Nothing happens for an unknown path.
  void remove(const std::string& path);

  // For an application that opens and closes its database for each request, and so deletes its log each time:
  // from the next connection on the log is kept, by holding shared locks on the database and its wal-index as
  // one more connection would, for two seconds after each sign of life. So the main file alone is not the
  // whole database between requests, and the application cannot leave WAL mode meanwhile. Nothing happens for
  // an unknown path.
  void hold(const std::string& path, bool on);

  // Compares the whole file with the hashes now; metrics().verify_rounds then grows by one, and `divergences`
  // by what was found. In WAL mode a page that is not as it was committed counts as damaged and is not
  // delivered (captured_image.hpp). Nothing happens for an unknown path.
  void verify(const std::string& path);

  // Counters of one database since add(); all zero for an unknown path.
  capture_metrics metrics(const std::string& path) const;
  // Whether the thread runs under SCHED_FIFO when it does not scan.
  bool real_time() const;

 private:
  class implementation;
  explicit capture_engine(std::unique_ptr<implementation> hidden);
  std::unique_ptr<implementation> implementation_;
};

}  // namespace understudy::capture
