#pragma once

// The seam through which everything durable is written, by both daemons: copies, file trees, quarantine,
// spool, and (through a SQLite VFS over it) state.db. Two implementations stand under one contract test:
// posix_file_system() and, for tests, faulty_file_system, which cuts the power at a chosen sync point and
// loses or tears whatever was not synced.
//
// Threads: a file_system may be shared; a file or directory is used by one thread at a time.
// Errors: absl::Status translated from errno (common/status/errno_status.hpp), with operation and path.

#include <sys/stat.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace understudy::os {

// How far a long copy is, in bytes; false ends it with kCancelled.
using copy_progress = std::function<bool(std::uint64_t done, std::uint64_t total)>;

// An open regular file. Closed by its destructor; nothing is synced by closing.
class file {
 public:
  virtual ~file() = default;

  // Reads up to buffer.size() bytes; fewer only at the end of the file.
  virtual absl::StatusOr<std::size_t> read_at(std::span<std::byte> buffer, std::uint64_t offset) = 0;
  // Writes all of data or fails. Not durable before sync_data().
  virtual absl::Status write_at(std::span<const std::byte> data, std::uint64_t offset) = 0;
  virtual absl::Status truncate(std::uint64_t size) = 0;
  // Reserves space so that a later write cannot meet ENOSPC; the size grows to at least offset + length.
  virtual absl::Status allocate(std::uint64_t offset, std::uint64_t length) = 0;
  // Replaces the content by that of `source` (same implementation), sharing its blocks where the filesystem
  // can (FICLONE), else at disk speed; only then is there progress to tell.
  virtual absl::Status clone_from(file& source, const copy_progress& progress = {}) = 0;
  // fdatasync(2): on return, what was written and the size are durable. The directory entry is not.
  virtual absl::Status sync_data() = 0;
  virtual absl::StatusOr<struct ::stat> status() = 0;
  virtual absl::Status set_mode(mode_t mode) = 0;
  virtual absl::Status set_owner(uid_t uid, gid_t gid) = 0;
  virtual absl::Status set_times(const struct ::timespec& access, const struct ::timespec& modification) = 0;
  // For locks (F_OFD_SETLK), xattrs and mmap of volatile files only; durable bytes never go around the seam.
  virtual int descriptor() const = 0;
};

enum class open_mode {
  read,        // O_RDONLY
  read_write,  // O_RDWR, must exist
  create,      // O_RDWR | O_CREAT, may exist
  create_new,  // O_RDWR | O_CREAT | O_EXCL
};

enum class rename_mode {
  replace,     // the target, if any, is replaced atomically
  no_replace,  // RENAME_NOREPLACE: kAlreadyExists when the target exists
  exchange,    // RENAME_EXCHANGE: both must exist
};

// One entry of directory::list(). `type` is S_IFMT of the entry; names are bytes, not text.
struct directory_entry {
  std::string name;
  mode_t type = 0;
  ino_t inode = 0;
};

// A held directory. Every path given to it is relative, has no empty, "." or ".." component, and is resolved
// with openat2(RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS), so nothing outside can be reached however the tree
// changes underneath. A path that breaks the rule is kInvalidArgument.
class directory {
 public:
  virtual ~directory() = default;

  virtual absl::StatusOr<std::unique_ptr<file>> open(std::string_view path, open_mode mode,
                                                     mode_t permissions = 0640) = 0;
  virtual absl::StatusOr<std::unique_ptr<directory>> open_directory(std::string_view path) = 0;
  // Creates one level; the parent must exist. kAlreadyExists when something has the name.
  virtual absl::Status make_directory(std::string_view path, mode_t permissions = 0750) = 0;
  // Stores `target` verbatim; it is never followed.
  virtual absl::Status make_symlink(std::string_view target, std::string_view path) = 0;
  virtual absl::Status make_hard_link(std::string_view existing, directory& to, std::string_view path) = 0;
  // `to` belongs to the same file_system implementation and the same mounted filesystem.
  virtual absl::Status rename(std::string_view from, directory& to, std::string_view path,
                              rename_mode mode = rename_mode::replace) = 0;
  virtual absl::Status remove_file(std::string_view path) = 0;
  virtual absl::Status remove_directory(std::string_view path) = 0;
  // fsync(2) of this directory: its entries (creations, renames, removals) are durable on return.
  virtual absl::Status sync() = 0;
  // lstat: symlinks are not followed.
  virtual absl::StatusOr<struct ::stat> status(std::string_view path) = 0;
  virtual absl::StatusOr<std::string> read_symlink(std::string_view path) = 0;
  // Entries without "." and "..", in no order. The visitor returns false to stop.
  virtual absl::Status list(const std::function<bool(const directory_entry&)>& visit) = 0;
  virtual absl::Status set_mode(std::string_view path, mode_t mode) = 0;
  virtual absl::Status set_owner(std::string_view path, uid_t uid, gid_t gid) = 0;
  virtual absl::Status set_times(std::string_view path, const struct ::timespec& access,
                                 const struct ::timespec& modification) = 0;
  virtual int descriptor() const = 0;
};

class file_system {
 public:
  virtual ~file_system() = default;
  // Opens an existing directory by absolute path; symlinks in it are followed (the operator named it).
  virtual absl::StatusOr<std::unique_ptr<directory>> open_root(std::string_view absolute_path) = 0;
  // syncfs(2) on the filesystem that holds `d`: one call instead of many syncs for a batch of small files.
  virtual absl::Status sync_file_system(directory& d) = 0;
};

// The real one. Lives for ever.
file_system& posix_file_system();

// mkdir -p of an absolute path, each new level synced into its parent.
absl::Status make_directories(file_system& fs, std::string_view absolute_path, mode_t permissions = 0750);

// Writes `content` under a temporary name (".NAME.new" beside it), syncs it, renames it over `path`, syncs
// the directory. One writer per path at a time.
absl::Status replace_file(directory& d, std::string_view path, std::string_view content,
                          mode_t permissions = 0640);

}  // namespace understudy::os
