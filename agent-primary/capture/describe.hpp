#pragma once

// What can be said about a database by reading it: for Describe, TestDatabase and `doctor`.

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"

namespace understudy::capture {

enum class journal_mode {
  unknown,   // no such file, empty, unreadable or not SQLite
  wal,       // write-ahead log
  rollback,  // DELETE, TRUNCATE or PERSIST; the file does not say which
};

struct database_description {
  bool exists = false;
  journal_mode mode = journal_mode::unknown;
  std::uint32_t page_size = 0;  // bytes
  std::uint32_t pages = 0;      // of the database file; the log may hold more
  std::uint64_t file_bytes = 0;
  bool has_wal = false;
  std::uint64_t wal_bytes = 0;
  bool has_shm = false;
  bool in_use = false;               // some process has it open in WAL mode (holds the wal-index's DMS lock)
  std::uint32_t sqlite_version = 0;  // of the library that wrote last: 3040001 is 3.40.1
  bool can_be_captured = false;
  std::string problem;  // why not, or what works less well; empty when all is right
  std::string remedy;   // what to check or do about `problem`
};

// Reads only, and never waits for a lock. Problems are told in the description, not as an error.
database_description describe_database(const std::string& path);

}  // namespace understudy::capture
