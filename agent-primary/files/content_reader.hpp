#pragma once

// Reads a file to send it: hashed while read, and looked at again afterwards.

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/statusor.h"
#include "common/files/digest.hpp"
#include "common/files/tree_walk.hpp"
#include "common/os/file_system.hpp"

namespace understudy::files {

class content_reader {
 public:
  // `what` becomes what the open file is: the name may have been taken over since `seen`. kNotFound and the
  // like (is_absent): it has gone.
  static absl::StatusOr<std::unique_ptr<content_reader>> open(os::directory& root, observation seen,
                                                              owner_names& owners, bool with_attributes);

  const observation& seen() const { return seen_; }
  // The next piece of at most `limit` bytes of the size at opening, holes left out; false at the end.
  absl::StatusOr<bool> next(std::string& piece, std::uint64_t& offset, std::size_t limit);
  // Hashes everything up to `end` without returning it.
  absl::Status skip_to(std::uint64_t end);
  // Goes on behind the first `end` bytes, of which this is the digest; nothing was read yet.
  void resume(digest_builder&& of_them, std::uint64_t end) {
    content_ = std::move(of_them);
    position_ = end;
  }
  // What resume() takes, of everything up to position(); the last call.
  digest_builder release() { return std::move(content_); }
  std::uint64_t position() const { return position_; }
  // Of everything up to the last piece, holes included.
  digest content() const { return content_.result(); }
  // False: it was written while it was read, other than by adding to its end.
  absl::StatusOr<bool> is_stable();
  // True when the file ended before the size it had at opening.
  bool is_short() const { return short_; }

 private:
  content_reader(std::unique_ptr<os::file> file, observation seen)
      : file_(std::move(file)), seen_(std::move(seen)) {}
  absl::StatusOr<bool> next_before(std::uint64_t size, std::string& piece, std::uint64_t& offset,
                                   std::size_t limit);
  std::uint64_t skip_hole(std::uint64_t from) const;
  std::uint64_t end_of_data(std::uint64_t size) const;

  std::unique_ptr<os::file> file_;
  observation seen_;
  digest_builder content_;
  std::uint64_t position_ = 0;
  bool short_ = false;
};

}  // namespace understudy::files
