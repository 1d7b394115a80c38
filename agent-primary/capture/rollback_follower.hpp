#pragma once

// Follows a database in rollback-journal mode, where no log tells what a transaction wrote: whenever the file
// may have changed, all of it is compared with the hashes, without taking a lock (a reader's SHARED lock
// would make writers fail), and what differs is delivered as one transaction. Transactions that follow fast
// may merge.
//
// Why the comparison is of one committed state: SQLite writes the file only under its locks and, before it
// lets them go, makes inotify events of each write. No lock held and no hot journal before the first page is
// read; the same after the last one, and no event in between.

#include <sys/stat.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "agent-primary/capture/captured_image.hpp"
#include "agent-primary/capture/log_transaction.hpp"

namespace understudy::capture {

// A journal that is there, not empty and not zeroed at its beginning will be rolled back, or is being
// written.
bool has_hot_journal(const std::string& path);

class rollback_follower {
 public:
  enum class result {
    idle,      // nothing has changed
    waiting,   // a writer is at work, or its journal is to be rolled back by the application
    working,   // pages are being compared
    settled,   // the image is that of a committed state
    replaced,  // another page size, another journal mode, no database any more: begin anew
  };

  // `first`: the image is empty and its scan has begun.
  void begin(bool first) {
    first_ = first;
    dirty_ = true;
    comparing_ = compared_ = false;
  }
  // Something wrote the file or its journal (an inotify event).
  void disturb() { dirty_ = disturbed_ = true; }
  // One turn, after all waiting events were delivered.
  result turn(captured_image& image, int database, const std::string& journal_path,
              std::chrono::microseconds slice, std::vector<std::byte>& buffer);
  // For the safety poll: whether the file's size or times are not those of the last comparison.
  void check(int database);

 private:
  bool start(captured_image& image, int database);
  void compare(captured_image& image, int database, std::chrono::microseconds slice,
               std::vector<std::byte>& buffer);

  bool first_ = false;
  bool dirty_ = false;      // there is something to compare
  bool disturbed_ = false;  // since the comparison began
  bool comparing_ = false;
  bool compared_ = false;  // all pages, and nobody was writing afterwards; the events decide
  struct ::stat status_ {};
  std::uint32_t pages_ = 0;
  std::uint32_t next_ = 1;
  log_transaction changed_;
};

}  // namespace understudy::capture
