#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tests/bench/samples.hpp"

struct sqlite3;
struct sqlite3_stmt;

namespace understudy::bench {

// A WAL database with one table of `rows` rows, each filling a page of its own.
void make_database(const std::string& path, int rows);
void run_sql(const std::string& path, const std::string& sql);

struct workload {
  int per_second = 0;  // 0: as fast as it can
  double seconds = 0;
  int truncate_every = 0;  // transactions: between two `PRAGMA wal_checkpoint(TRUNCATE)`; 0: never
};

struct work_done {
  double per_second = 0;
  std::uint64_t busy = 0;                         // statements that ended in SQLITE_BUSY
  std::vector<clock::time_point> committed_at{};  // when each commit returned
  std::uint64_t checkpoints = 0;                  // with TRUNCATE
  std::uint64_t busy_checkpoints = 0;
  std::uint64_t log_bytes = 0;  // of the -wal afterwards: it never shrinks by itself
};

// An application that inserts one row of 200 random bytes per transaction with synchronous=FULL and
// busy_timeout=0, in the calling thread. Its -wal has been through a reset before the first run: from then on
// it is overwritten, and a sync costs what it costs an application that has been running for a while.
class application {
 public:
  explicit application(const std::string& path);
  ~application();
  application(const application&) = delete;
  application& operator=(const application&) = delete;

  work_done run(const workload& work);
  // Empties the -wal.
  void truncate_log();

 private:
  bool checkpoint();

  std::string path_;
  sqlite3* database_ = nullptr;
  sqlite3_stmt* insert_ = nullptr;
};

}  // namespace understudy::bench
