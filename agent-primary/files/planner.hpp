#pragma once

// What has to be sent for one entry: a function of what is there now, what the receiver has, and why one
// looks.

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "agent-primary/files/tree_index.hpp"
#include "common/files/selection.hpp"
#include "common/files/tree_walk.hpp"

namespace understudy::files {

enum class step {
  nothing,     // the receiver has it as it is
  refresh,     // it has; only what identifies the file here is new
  verify,      // it may have it: compare the content, then attributes
  attributes,  // it has the content, not the mode, owner, times or extended attributes
  put,         // send it
};

struct reason_to_look {
  bool scan = false;                // no event said so: nothing is known about how it changed
  bool written_since_read = false;  // an event said that it was written after it was last read
};

step decide(const index_record* known, const observation& now, const reason_to_look& why);

// The receiver has the content; does it have the rest?
bool same_attributes(const index_record& known, const observation& now);

// The renames, in order, that the receiver can follow; the others are covered by their names being dirty.
// `exists` gives the inode of what is at a path now, 0: nothing. Applies to `index` what it returns.
std::vector<std::pair<std::string, std::string>> plan_renames(
    tree_index& index, const std::vector<std::pair<std::string, std::string>>& renames,
    const selection_matcher& matcher, const std::function<ino_t(const std::string&)>& inode_at,
    std::uint64_t first_sequence);

}  // namespace understudy::files
