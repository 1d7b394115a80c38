#pragma once

// The stock sqlite3 program as another process at a database. It is spawned, never forked: a forked child may
// find the allocator's locks held for ever by threads that it does not have (AddressSanitizer's allocator has
// no fork handlers before GCC 14), so whatever has threads meets SQLite through this.

#include <sys/types.h>

#include <chrono>
#include <optional>
#include <string>

#include "common/os/unique_fd.hpp"

namespace understudy::test {

class sqlite_shell {
 public:
  // Aborts when the program cannot be started: the test machine is broken then.
  explicit sqlite_shell(const std::string& database);
  ~sqlite_shell();  // kills it when it still runs
  sqlite_shell(const sqlite_shell&) = delete;
  sqlite_shell& operator=(const sqlite_shell&) = delete;

  // What the statements or dot commands printed; nothing when one of them failed (the program ends then, and
  // its reason is on stderr) or when they are not done by the deadline.
  std::optional<std::string> run(const std::string& statements,
                                 std::chrono::milliseconds deadline = std::chrono::seconds(60));
  void kill();
  // Ends its input and waits for it: true when it closed the database and exited with 0.
  bool close();

 private:
  pid_t pid_ = -1;
  os::unique_fd in_;
  os::unique_fd out_;
};

// One program for one batch.
std::optional<std::string> through_sqlite(const std::string& database, const std::string& statements);

}  // namespace understudy::test
