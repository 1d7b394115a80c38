#pragma once

// What the receiver has, while it is compared: a million entries, so they are kept as they came from the
// wire, about 100 bytes each, and unpacked one at a time.

#include <cstddef>
#include <deque>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "common/files/entry.hpp"

namespace understudy::v1 {
class FileEntry;
}

namespace understudy::files {

class receiver_listing {
 public:
  // kInvalidArgument: no entry that an honest receiver has. Takes `message` apart.
  absl::Status add(v1::FileEntry& message);
  // Nothing is added any more; only now there is something to find.
  void finish();
  std::optional<entry> find(std::string_view path) const;
  void each(const std::function<void(std::string_view path, entry_kind)>& visit) const;
  std::size_t size() const { return records_.size(); }
  // There is anything but directories.
  bool has_files() const { return has_files_; }

 private:
  std::deque<std::string> blocks_;
  std::vector<const char*> records_;  // length of the path, of the rest, kind; then both
  bool has_files_ = false;
};

}  // namespace understudy::files
