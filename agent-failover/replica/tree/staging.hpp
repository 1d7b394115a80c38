#pragma once

// Where files are made before they are renamed into a tree: a directory of the same filesystem that holds
// nothing else. What a crash leaves in it is swept at the next start, except uploads of large files that say
// how far they are:
//   N           what has arrived
//   N.upload    digest (16 bytes) of the rest: a FileUpload message; behind the content, never ahead of it
// Used by one thread.

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/files/digest.hpp"
#include "common/files/entry.hpp"
#include "common/os/file_system.hpp"

namespace understudy::v1 {
class FileChunk;
}

namespace understudy::files {

// A file that is whole but has no name in the tree yet.
struct staged_file {
  std::string name;  // in the staging directory
  std::unique_ptr<os::file> file;
};

// What a failback collects lies in a directory of this name there, and is not swept.
inline constexpr std::string_view incoming_name = "incoming";

class staging {
 public:
  // Sweeps what is in the directory.
  static absl::StatusOr<std::unique_ptr<staging>> open(std::unique_ptr<os::directory> where);

  os::directory& where() { return *where_; }
  std::string new_name();
  absl::StatusOr<staged_file> write(std::string_view content);
  void discard(const std::string& name);

  using open_present = std::function<absl::StatusOr<std::unique_ptr<os::file>>(std::string_view path)>;
  // A piece of an upload; `present` opens the receiver's file of that path. kInvalidArgument for what no
  // honest sender sends; anything else that fails is remembered and told by finish().
  absl::Status add_chunk(const v1::FileChunk& chunk, const open_present& present);
  // The upload as a file of `size` bytes. kDataLoss when its digest is another one.
  absl::StatusOr<staged_file> finish(std::uint64_t upload, std::uint64_t size,
                                     const std::optional<digest>& content);
  // Remembers how far large ones are, and forgets the others.
  void abandon_uploads();
  // Nobody goes on with them: everything has arrived.
  void drop_cut_uploads();
  void cut_uploads(const std::function<void(const entry&, std::uint64_t have)>& visit) const;

 private:
  struct cut_upload {
    std::string name;
    entry what;
    std::uint64_t have = 0;
  };
  struct upload {
    staged_file file;
    std::optional<entry> announced;  // of a large file: its journal is kept
    std::unique_ptr<os::file> journal;
    std::string path;                   // in the tree
    std::unique_ptr<os::file> present;  // of that path, when some of it is taken over
    std::uint64_t position = 0;         // end of the last piece
    std::uint64_t unsynced = 0;
    digest_builder content;
    bool verifiable = true;  // false: a hole is too long to be hashed, the digest is not compared
    absl::Status failure;
  };
  explicit staging(std::unique_ptr<os::directory> where) : where_(std::move(where)) {}
  static void add_hole(upload& u, std::uint64_t length);
  absl::Status write_chunk(upload& u, std::string_view content, std::uint64_t offset);
  absl::Status take_present(upload& u, std::uint64_t offset, std::uint64_t length,
                            const open_present& present);
  // Content and journal are durable on return.
  absl::Status record(upload& u);
  void begin(upload& u, const v1::FileChunk& first);
  absl::Status go_on(upload& u, const cut_upload& cut);
  void remember_cut(cut_upload cut);
  std::optional<cut_upload> read_journal(const std::string& name);

  std::unique_ptr<os::directory> where_;
  std::uint64_t next_ = 0;
  std::map<std::uint64_t, upload> uploads_;
  std::map<std::string, cut_upload> cut_;  // by path in the tree
};

}  // namespace understudy::files
