#pragma once

// SQLite over images in memory: what it reads comes from page sources, what it writes stays here. No file is
// opened, so a copy whose descriptors this process holds can be worked on with SQL, and nothing comes of it
// until somebody takes the pages written. Journals are not offered: connections have journal_mode OFF, and
// after any error what was written is thrown away whole.

#include <cstdint>
#include <limits>
#include <map>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "common/rows/page_source.hpp"

struct sqlite3_vfs;

namespace understudy::tables {

// An image that SQLite may read and write.
struct overlaid_image {
  rows::page_source* below = nullptr;
  std::map<std::uint32_t, std::string> written = {};  // whole pages
  std::uint32_t pages = 0;
  std::uint64_t most_written = std::numeric_limits<std::uint64_t>::max();  // pages; more: "database is full"
  absl::Status trouble = {};  // of `below`, which SQLite knows as "disk I/O error"
};

// Registered, under a name of its own, from the constructor to the destructor, which comes after the last
// connection is closed. Threads: one at a time.
class image_vfs {
 public:
  image_vfs();
  ~image_vfs();
  image_vfs(const image_vfs&) = delete;
  image_vfs& operator=(const image_vfs&) = delete;

  const std::string& name() const { return name_; }
  // The database of this name. `below` outlives the VFS.
  overlaid_image& add(const std::string& database, rows::page_source& below);
  overlaid_image* find(const std::string& database);

 private:
  const std::string name_;
  std::map<std::string, overlaid_image> images_;
  std::unique_ptr<sqlite3_vfs> vfs_;
};

}  // namespace understudy::tables
