#pragma once

#include <cstdint>
#include <vector>

#include "common/channel/database_source.hpp"
#include "common/sqlite/page_hash.hpp"

namespace understudy::capture {

// One transaction as it is read from a log: every frame's hash, and the pages themselves while someone wants
// them and they fit the queue.
struct log_transaction {
  struct frame {
    std::uint32_t page = 0;
    std::uint32_t number = 0;  // of the frame in its generation, from 1
    sqlite::page_hash hash;
  };
  std::uint32_t page_size = 0;     // bytes
  std::uint32_t commit_pages = 0;  // size of the database after the commit
  std::vector<frame> frames;
  std::vector<channel::page_image> pages;  // of each frame, in its order; meaningless unless pages_complete
  bool pages_complete = true;
  std::uint64_t page_bytes = 0;  // of all frames, kept or not

  void clear() {
    frames.clear();
    pages.clear();
    pages_complete = true;
    page_bytes = 0;
  }
};

}  // namespace understudy::capture
