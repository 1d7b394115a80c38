#pragma once

// Open-file-description locks (fcntl(2), F_OFD_*). Unlike POSIX locks they belong to the descriptor, so
// closing another descriptor of the file does not drop them, and a shared one needs only a read-only
// descriptor.

#include <fcntl.h>

#include <cstdint>

namespace understudy::capture {

// The type of a lock held by someone else that `wanted` (F_RDLCK or F_WRLCK) would meet; F_UNLCK when none.
inline int conflicting_lock(int fd, short wanted, std::int64_t start, std::int64_t length) {
  struct ::flock lock {};
  lock.l_type = wanted;
  lock.l_whence = SEEK_SET;
  lock.l_start = start;
  lock.l_len = length;
  return ::fcntl(fd, F_OFD_GETLK, &lock) == 0 ? lock.l_type : F_UNLCK;
}

// Never waits. `type` is F_RDLCK or F_UNLCK.
inline bool set_lock(int fd, short type, std::int64_t start, std::int64_t length) {
  struct ::flock lock {};
  lock.l_type = type;
  lock.l_whence = SEEK_SET;
  lock.l_start = start;
  lock.l_len = length;
  return ::fcntl(fd, F_OFD_SETLK, &lock) == 0;
}

}  // namespace understudy::capture
