#pragma once

// The places of one copy of a tree on disk, and what may be written there.
//   the tree itself       where the application, or its stand-in, finds the files
//   staging               new files before they have their names
//   trash                 deleted entries
// All on one filesystem: renames must work between them. Where the directory beside the tree is on another
// one, staging and trash move into the tree under `reserved_name`, which never travels.

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "agent-failover/replica/tree/staging.hpp"
#include "agent-failover/replica/tree/trash.hpp"
#include "common/files/entry.hpp"
#include "common/files/owner_names.hpp"
#include "common/files/selection.hpp"
#include "common/os/file_system.hpp"

namespace understudy::files {

class file_feed;

struct tree_sink_options {
  std::string tree;    // absolute; made when missing
  std::string beside;  // absolute; holds .understudy-staging/NAME and .understudy-trash/NAME
  std::string name;    // of this tree in `beside`, one component: "files-0"
  selection what;      // which files, with the base as it is on the primary
  trash_limits trash;
  std::uint64_t limit = 0;                    // bytes per second that a stream may take; 0: no limit
  std::shared_ptr<file_feed> feed = nullptr;  // is told what was applied; null: nobody is
};

struct copy_place {
  os::file_system* fs = nullptr;
  std::unique_ptr<os::directory> parent;  // holds the tree as `tree_name`
  std::string tree_name;
  std::unique_ptr<os::directory> tree;
  std::unique_ptr<os::directory> area;  // holds the memory file
  std::string memory_file;
  std::unique_ptr<os::directory> holder;  // holds staging and trash: beside the tree, or the tree itself
  std::string holder_path;                // absolute
  std::unique_ptr<files::staging> staging;
  std::unique_ptr<files::trash> trash;
  std::optional<selection_matcher> matcher;
  owner_names owners;
  bool owners_kept = true;      // false: this process may not give files away
  bool attributes_kept = true;  // false: the filesystem has no extended attributes

  // Owner, permissions, extended attributes and times of an entry: through a descriptor, or by path.
  absl::Status dress(os::file& file, const entry& e);
  absl::Status dress(os::directory& parent_of_entry, std::string_view path, const entry& e, bool with_times);

 private:
  std::pair<uid_t, gid_t> owner_here(const entry& e);
};

// Opens all of it and tries out what may be done there.
absl::StatusOr<std::unique_ptr<copy_place>> open_copy_place(os::file_system& fs,
                                                            const tree_sink_options& options);

}  // namespace understudy::files
