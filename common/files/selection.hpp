#pragma once

// Which files of a base directory are kept in step: the inclusion table of the classic product, made precise.

#include <array>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace understudy::v1 {
class FileSelection;
}

namespace understudy::files {

// One row of the inclusion table.
struct inclusion {
  std::string subdirectory;        // below the base, "/" between components; "" or ".": the base itself
  std::vector<std::string> types;  // patterns on the file name (name_pattern.hpp), at least one
  bool recursive = false;          // also in all directories below
  bool ignore_case = false;        // names, the subdirectory's too, without regard to case (ASCII)
};

struct selection {
  std::string base;  // absolute
  std::vector<inclusion> include{};
  // Absolute; they and their -wal, -shm, -journal never travel. With `*` (any text but a slash, some of it at
  // least): whatever has such a path, a database or not.
  std::vector<std::string> exclude_databases{};
};

// The table that the classic product was delivered with, for a base directory that the operator names.
std::vector<inclusion> classic_profile();

// What a selection means, for one path at a time. Built once; immutable, any thread.
class selection_matcher {
 public:
  // kInvalidArgument with the row and what is wrong with it.
  static absl::StatusOr<selection_matcher> make(const selection& what);

  // A file or symlink at this path travels.
  bool includes_file(std::string_view path) const;
  // A directory at this path travels, and is looked into. True for "".
  bool includes_directory(std::string_view path) const;
  // A protected database or one of its companions has this path.
  bool is_database(std::string_view path) const;
  // One of them lies below this directory.
  bool has_database_below(std::string_view directory) const;

 private:
  struct row {
    std::string subdirectory;  // "" is the base
    std::vector<std::string> types;
    bool recursive = false;
    bool ignore_case = false;
  };
  std::vector<row> rows_;
  std::vector<std::string> databases_;              // relative paths
  std::vector<std::vector<std::string>> patterns_;  // of databases: relative, by component
};

selection from_message(const v1::FileSelection& message);
v1::FileSelection to_message(const selection& what);

// At the root of a tree whose filesystem has no other place for it, the receiver stages under this name. It
// never travels.
inline constexpr std::string_view reserved_name = ".understudy-staging";
// Nor does a file with this in its name: a database on its way back, beside the one that it replaces.
inline constexpr std::string_view incoming_mark = ".understudy-incoming";

}  // namespace understudy::files
