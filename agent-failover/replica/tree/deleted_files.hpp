#pragma once

// What lies in the trash of a tree, for whoever looks into it. The sink fills and prunes it meanwhile, on
// another thread: what goes away is left out, or not found. Used by one thread at a time.

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/files/entry.hpp"
#include "common/os/file_system.hpp"

namespace understudy::files {

struct deleted_file {
  std::string version;  // tells those of one path apart
  std::string path;     // where it was in the tree
  std::uint64_t size = 0;
  epoch_ns modified_at = 0;
  bool symlink = false;
  std::chrono::system_clock::time_point deleted_at;  // to the minute
};

// Which of those that had one path.
struct deleted_version {
  std::optional<std::chrono::system_clock::time_point>
      at;            // deleted first in that minute or later; else the last
  std::string name;  // this one, whatever `at` says
};

class deleted_files {
 public:
  // `tree`, `beside` and `name` as in tree_sink_options. Nothing is made: a tree without a trash has none
  // deleted.
  static absl::StatusOr<deleted_files> open(os::file_system& fs, const std::string& tree,
                                            const std::string& beside, std::string_view name);

  // The last deleted first, what was deleted in one minute in no order. `under`: a path, with what is below
  // it; empty: all. `visit` returns false to stop.
  absl::Status list(std::string_view under, const std::function<bool(deleted_file&&)>& visit);
  // kNotFound: there is none. kInvalidArgument: a directory, or no path.
  absl::StatusOr<deleted_file> find(std::string_view path, const deleted_version& which);
  // Writes a copy of it, durably, as `name` of `to`, which must be free: whole or not at all. Mode 0600, and
  // its time. `go_on` is asked now and then.
  absl::Status copy(const deleted_file& what, os::directory& to, const std::string& name,
                    const std::function<bool()>& go_on);

 private:
  std::vector<std::unique_ptr<os::directory>> places_;
};

}  // namespace understudy::files
