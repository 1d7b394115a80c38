#pragma once

// A copy's own -shm file, through a raw descriptor. We never map it: what we need of the wal-index are its
// locks, its read marks, and the power to make every reader rebuild it from the -wal (zeroed headers).
//
// It is opened and held with the dead man's switch (byte 128) shared for the copy's whole life: without a
// -shm of ours there would be nothing to lock while folding, and a reader that came in the middle would
// create one, read the -wal that is being reused, and see pages of two generations.

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/os/byte_lock.hpp"
#include "common/os/file_system.hpp"

namespace understudy::replica {

class wal_index {
 public:
  // `like` gives mode and owner of a file that has to be created.
  static absl::StatusOr<std::unique_ptr<wal_index>> open(os::directory& directory, const std::string& name,
                                                         const struct ::stat& like);

  // Lock bytes as in wal_format.hpp (shm_lock_*).
  absl::Status lock(int first, int count, os::lock_mode mode, std::chrono::milliseconds patience);
  absl::StatusOr<bool> try_lock(int first, os::lock_mode mode, int count = 1);
  void unlock(int first, int count = 1);
  std::string holder(int first) const;

  // The frame up to which a reader in slot 1..4 may need the -wal; meaningful while somebody holds the slot.
  absl::StatusOr<std::uint32_t> read_mark(int slot);
  // Both header copies zeroed: whoever reads next recovers from the -wal. Requires the WRITE lock.
  absl::Status invalidate();
  // False when somebody removed the file from the directory.
  bool is_linked();

 private:
  explicit wal_index(std::unique_ptr<os::file> f) : file_(std::move(f)) {}
  std::unique_ptr<os::file> file_;
};

// Unlocks at the end of a scope.
class index_lock {
 public:
  index_lock(wal_index& index, int first, int count = 1) : index_(&index), first_(first), count_(count) {}
  ~index_lock() { index_->unlock(first_, count_); }
  index_lock(const index_lock&) = delete;
  index_lock& operator=(const index_lock&) = delete;

 private:
  wal_index* index_;
  int first_;
  int count_;
};

}  // namespace understudy::replica
