#pragma once

// Digests of the directories of a tree, by which two ends find where their trees differ without listing them;
// files.proto (FileDirectory) says of what. Takes some 150 bytes per directory and nothing per file, but for
// those with several names.

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "common/files/digest.hpp"
#include "common/files/entry.hpp"
#include "common/files/tree_walk.hpp"

namespace understudy::files {

class tree_sums {
 public:
  explicit tree_sums(comparison what);

  // An entry that was found, a directory before what is in it. "." is the base.
  void add(const observation& found);
  // The directory ("": the base) could not be read: neither it nor what is above has a digest.
  void leave_open(std::string_view directory);
  // Everything was added; only now there are digests and leaders.
  void finish();

  std::optional<digest> below(std::string_view directory) const;
  // The first of the names of this file; empty: it has only one here.
  std::string leader_of(dev_t device, ino_t inode) const;

  struct link {
    dev_t device = 0;
    ino_t inode = 0;
    std::string path;
  };
  // Files that have several names, here or elsewhere.
  const std::vector<link>& links() const { return links_; }

 private:
  struct summed {
    const std::string* path = nullptr;
    std::uint32_t parent = 0;
    bool open = false;
    digest sum{};
  };
  summed& at(std::string_view path);

  comparison what_;
  std::unordered_map<std::string, std::uint32_t> numbers_;
  std::vector<summed> directories_;  // parents first
  std::uint32_t last_ = 0;           // the one added to last: the next entry is in it, too
  std::vector<link> links_;
  std::map<std::pair<dev_t, ino_t>, std::string> leaders_;
  std::string text_;
};

}  // namespace understudy::files
