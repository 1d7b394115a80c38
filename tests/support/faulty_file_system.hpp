#pragma once

// A file_system over a real directory that can lose power. Everything is written through to the real files,
// so that other programs (stock sqlite3) see what the page cache would show; beside that it records, per file
// and per directory, what would survive a power cut.
//
// The model: a file's bytes and size are durable after sync_data() of that file; a directory's entries after
// sync() of that directory (either directory of a rename); what is not durable may survive in part and,
// within a file, in any order. What other programs write around the seam counts as durable only where a file
// existed when the file_system was made, or from before its first change through the seam.
//
// Threads: may be shared.

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "common/os/file_system.hpp"

namespace understudy::test {

// What happens to that which was written and not synced.
enum class unsynced {
  lost,    // nothing of it survives
  kept,    // all of it survives, as after kill -9
  random,  // each write survives or not; of the directory changes a prefix survives
  torn,    // as random, but each 512-byte sector for itself
};

class faulty_file_system final : public os::file_system {
 public:
  // What lies under `real_directory` now is durable.
  explicit faulty_file_system(std::string real_directory);
  ~faulty_file_system() override;

  // Counted from construction: sync_data(), directory sync() and sync_file_system().
  std::uint64_t sync_points() const;
  // Every call that changes something, syncs included.
  std::uint64_t operations() const;

  // The power fails on the way into sync point (operation) number n, counted from 1: it and every later call,
  // reads too, fail with kUnavailable and change nothing. 0: never.
  void cut_power_at(std::uint64_t sync_point);
  void cut_power_at_operation(std::uint64_t operation);
  bool power_is_cut() const;

  // Builds in `directory` (absolute, existing, empty, outside the real directory) what a machine would find
  // after the power came back. The same policy and seed give the same image.
  absl::Status materialise(const std::string& directory, unsynced policy, std::uint64_t seed) const;

  absl::StatusOr<std::unique_ptr<os::directory>> open_root(std::string_view absolute_path) override;
  absl::Status sync_file_system(os::directory& d) override;

  struct state;

 private:
  std::shared_ptr<state> state_;
};

}  // namespace understudy::test
