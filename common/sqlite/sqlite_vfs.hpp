#pragma once

// SQLite over os::file_system, so that state.db goes through the same seam as everything else durable and the
// same power cuts. Made for one writer process: open with journal_mode=WAL, locking_mode=EXCLUSIVE (set
// before the first read: SQLite then needs no shared memory, which this VFS does not offer),
// synchronous=FULL. Temporary files go to SQLite's default VFS.

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "common/os/file_system.hpp"

struct sqlite3_vfs;

namespace understudy::sqlite {

// Registered under `name` (unique in the process) from make() to the destructor, which must come after the
// last connection is closed. Database names are relative paths in `directory`: database::open("state.db",
// {.vfs = name}). `directory` is used by the thread that uses the connection.
class file_system_vfs {
 public:
  static absl::StatusOr<std::unique_ptr<file_system_vfs>> make(std::string name,
                                                               std::unique_ptr<os::directory> directory);
  ~file_system_vfs();
  file_system_vfs(const file_system_vfs&) = delete;
  file_system_vfs& operator=(const file_system_vfs&) = delete;

  const std::string& name() const { return name_; }

 private:
  file_system_vfs() = default;

  std::string name_;
  std::unique_ptr<os::directory> directory_;
  std::unique_ptr<sqlite3_vfs> vfs_;
};

}  // namespace understudy::sqlite
