#pragma once

// The wal-index (-shm) of a live database, read with pread: SQLite's processes share it by mmap, and on Linux
// the page cache is one for both. https://sqlite.org/walformat.html#the_wal_index_file_format

#include <cstdint>
#include <optional>

#include "common/sqlite/wal_format.hpp"

namespace understudy::capture {

// The header as all processes see it now. Empty while a commit publishes (a few nanoseconds), while a
// connection recovers, and when the file is too short: try again.
std::optional<sqlite::wal_index_header> read_wal_index(int shm);

// Whether either copy of the header claims to be filled. Both are zero from the moment at which a connection,
// or whoever wrote to the log without it, wants it rebuilt, until that has happened.
bool index_is_initialised(int shm);

// Who holds the lock that every connection keeps while it has the wal-index open ("dead man's switch").
enum class index_use {
  nobody,     // what the file says is a remnant: the next connection will rebuild it from the log
  opening,    // a first connection is about to empty it
  connected,  // at least one connection: the header is authoritative
};
index_use probe_index_use(int shm);

}  // namespace understudy::capture
