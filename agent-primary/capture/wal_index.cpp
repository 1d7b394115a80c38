#include "agent-primary/capture/wal_index.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cstddef>

#include "agent-primary/capture/file_locks.hpp"

namespace understudy::capture {

std::optional<sqlite::wal_index_header> read_wal_index(int shm) {
  // Copy 1 is read before copy 2, and SQLite writes copy 2 before copy 1; equal and rightly summed is whole.
  std::array<std::byte, 2 * sqlite::wal_index_header_bytes> bytes;
  if (::pread(shm, bytes.data(), bytes.size(), 0) != static_cast<ssize_t>(bytes.size())) return std::nullopt;
  return sqlite::parse_wal_index(bytes);
}

bool index_is_initialised(int shm) {
  std::array<std::byte, 2 * sqlite::wal_index_header_bytes> bytes{};
  if (::pread(shm, bytes.data(), bytes.size(), 0) < 0) return true;
  return bytes[sqlite::wal_index_is_init_offset] != std::byte{0} ||
         bytes[sqlite::wal_index_header_bytes + sqlite::wal_index_is_init_offset] != std::byte{0};
}

index_use probe_index_use(int shm) {
  switch (conflicting_lock(shm, F_WRLCK, sqlite::shm_lock_dms, 1)) {
    case F_RDLCK:
      return index_use::connected;
    case F_WRLCK:
      return index_use::opening;
    default:
      return index_use::nobody;
  }
}

}  // namespace understudy::capture
