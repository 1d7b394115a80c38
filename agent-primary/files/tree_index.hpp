#pragma once

// What the receiver holds, as far as the sender knows, with what tells whether a file is still the one that
// was sent. Events are hints; this is the truth that they are compared with. Used by one thread.

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/files/entry.hpp"
#include "common/files/tree_walk.hpp"

namespace understudy::files {

struct index_record {
  entry_kind kind = entry_kind::regular;
  bool same = false;  // false: the receiver has something here, but not what the following says
  mode_t mode = 0;
  uid_t uid = 0;
  gid_t gid = 0;
  std::uint64_t size = 0;
  epoch_ns modified_at = 0;
  dev_t device = 0;
  ino_t inode = 0;
  epoch_ns changed_at = 0;  // ctime
  nlink_t names = 1;
  std::uint64_t extra = 0;        // hash of symlink target and extended attributes
  std::optional<digest> content;  // of what was sent
  epoch_ns read_at = 0;           // wall clock when reading it began; 0: not read
  std::chrono::steady_clock::time_point read_at_steady;
  std::uint64_t sequence = 0;  // of the last change sent; 0: the receiver had it before the stream
};

std::uint64_t extra_of(const entry& e);
// What is known once an observation has been sent.
index_record record_of(const observation& o);
// The same, where mode, owner, times and extended attributes are still to be sent: until they are, this
// record is not equal to any observation in them.
index_record record_without_attributes(const observation& o);
// The receiver has a file with these metadata; which one and with what content is still to be asked.
index_record record_without_content(const observation& o);

class tree_index {
 public:
  virtual ~tree_index() = default;
  // Nothing: the receiver has nothing there. "." is the base.
  virtual std::optional<index_record> find(std::string_view path) const = 0;
  // Parents that are missing come into being as directories that are not `same`. A directory that becomes
  // something else takes what is below it along.
  virtual void put(std::string_view path, const index_record& record) = 0;
  virtual void remove(std::string_view path) = 0;
  // Moves an entry with all below it; what is at `to` goes. False, and nothing changes: there is no `from`,
  // or no directory for `to`.
  virtual bool rename(std::string_view from, std::string_view to, std::uint64_t sequence) = 0;
  virtual void list(std::string_view directory,
                    const std::function<void(const std::string& name, const index_record&)>& visit) const = 0;
  // Paths of the other names of a file, as far as they are in the tree.
  virtual std::vector<std::string> names_of(dev_t device, ino_t inode) const = 0;
  // The newest change that concerned this path or a directory above it.
  virtual std::uint64_t last_touched(std::string_view path) const = 0;
  // A new stream begins, whose sequences start over. Of what was changed after `durable` it is not known any
  // more what was sent of its content.
  virtual void begin_anew(std::uint64_t durable) = 0;
  virtual std::size_t size() const = 0;
};

// Lives in memory, about 100 bytes per entry; is built anew from the receiver's listing and a scan.
std::unique_ptr<tree_index> make_memory_index();

}  // namespace understudy::files
