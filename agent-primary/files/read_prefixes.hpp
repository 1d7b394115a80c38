#pragma once

// Digests under way of large files as they were read last: what is added to the end of one can be sent
// without reading all that is in front of it first. That this has not changed is proven afterwards, by
// reading it; until then the copy has the old beginning and the new end, as any copy of a file that is
// written has. Bounded; used by one thread.

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "agent-primary/files/content_reader.hpp"
#include "agent-primary/files/tree_index.hpp"
#include "common/files/digest.hpp"

namespace understudy::files {

class read_prefixes {
 public:
  // `reader` has come to the end of what it opened. `proven`: it read all of it, and it is as it was read.
  void keep(content_reader& reader, bool proven);
  // The file has grown since it was kept, `known` is what the receiver has of it, and it was not sent
  // unproven for so long that it must be read first.
  bool continues(const observation& found, const index_record& known) const;
  // If so, `reader` goes on behind what the receiver has.
  bool resume(content_reader& reader, const index_record& known);

 private:
  struct prefix {
    dev_t device = 0;
    ino_t inode = 0;
    std::uint64_t size = 0;
    digest content;
    digest_builder builder;
    std::optional<std::chrono::steady_clock::time_point> unproven_since;
  };
  std::map<std::string, prefix> kept_;
};

}  // namespace understudy::files
