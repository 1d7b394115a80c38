#pragma once

// Reading a tree: what lies at a path, what lies in a directory, everything there is. Through os::directory,
// so that no path can lead outside; never writes.

#include <sys/stat.h>

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/files/entry.hpp"
#include "common/files/owner_names.hpp"
#include "common/files/selection.hpp"
#include "common/os/file_system.hpp"

namespace understudy::files {

// One entry as found, with what identifies the file behind it.
struct observation {
  entry what;  // without digest
  dev_t device = 0;
  ino_t inode = 0;
  epoch_ns changed_at = 0;  // ctime
  nlink_t names = 1;
};

// True when a status says that there is nothing at a path: no such entry, or the way leads through something
// that is not a directory.
bool is_absent(const absl::Status& status);

class tree_reader {
 public:
  // `root` and `matcher` outlive it. `with_attributes` false: extended attributes are not read.
  tree_reader(os::directory& root, const selection_matcher& matcher, bool with_attributes)
      : root_(root), matcher_(matcher), with_attributes_(with_attributes) {}

  // Nothing: no such entry, none that travels. "" or "." is the base.
  absl::StatusOr<std::optional<observation>> observe(std::string_view path);
  // The entries of one directory, in no order. kNotFound and the like: see is_absent.
  absl::Status list(std::string_view directory, const std::function<void(observation&&)>& visit);
  // Everything below a directory, parents before what is in them. `failed` hears of directories that cannot
  // be read (except by vanishing meanwhile): nothing is known about what is in them. `visit` returns false to
  // stop.
  void walk(std::string_view directory, const std::function<bool(observation&&)>& visit,
            const std::function<void(const std::string&, const absl::Status&)>& failed);

  owner_names& owners() { return owners_; }
  // Hears of what is selected and cannot travel, each time it is met: a socket, a pipe or a device.
  void on_special(std::function<void(const std::string& path, mode_t mode)> heard) {
    special_ = std::move(heard);
  }

 private:
  std::optional<observation> make(os::directory& parent, const std::string& name, std::string path,
                                  const struct ::stat& status);

  os::directory& root_;
  const selection_matcher& matcher_;
  bool with_attributes_;
  owner_names owners_;
  std::function<void(const std::string&, mode_t)> special_;
};

}  // namespace understudy::files
