#pragma once

// Where files are made before they are renamed into a tree: a directory of the same filesystem that holds
// nothing else. What a crash leaves in it is swept at the next start. Used by one thread.

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/files/digest.hpp"
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

class staging {
 public:
  // Sweeps what is in the directory.
  static absl::StatusOr<std::unique_ptr<staging>> open(std::unique_ptr<os::directory> where);

  os::directory& where() { return *where_; }
  std::string new_name();
  absl::StatusOr<staged_file> write(std::string_view content);
  void discard(const std::string& name);

  // A piece of an upload. kInvalidArgument for what no honest sender sends; anything else that fails is
  // remembered and told by finish().
  absl::Status add_chunk(const v1::FileChunk& chunk);
  // The upload as a file of `size` bytes. kDataLoss when its digest is another one.
  absl::StatusOr<staged_file> finish(std::uint64_t upload, std::uint64_t size,
                                     const std::optional<digest>& content);
  void abandon_uploads();

 private:
  struct upload {
    staged_file file;
    std::uint64_t position = 0;  // end of the last piece
    std::uint64_t unsynced = 0;
    digest_builder content;
    bool verifiable = true;  // false: a hole is too long to be hashed, the digest is not compared
    absl::Status failure;
  };
  explicit staging(std::unique_ptr<os::directory> where) : where_(std::move(where)) {}
  static void add_hole(upload& u, std::uint64_t length);
  absl::Status write_chunk(upload& u, const v1::FileChunk& chunk);

  std::unique_ptr<os::directory> where_;
  std::uint64_t next_ = 0;
  std::map<std::uint64_t, upload> uploads_;
};

}  // namespace understudy::files
