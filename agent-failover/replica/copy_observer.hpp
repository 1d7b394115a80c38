#pragma once

// What a copy tells of itself to somebody who keeps its past. Without an observer none of it costs anything.
//
// A page's image before a transaction is lost when the copy folds its -wal into the database file; so the
// copy asks before it folds (may_fold), and until then whatever was committed can be read from the two files
// at leisure: frames up to a commit never change, nor does the database file but by folding.
//
// Threads: called on the copy's thread. committed() is on the way of the acknowledgement's successor and must
// not wait for anything.

#include <chrono>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "common/os/file_system.hpp"
#include "common/sqlite/page_hash.hpp"

namespace understudy::replica {

struct changed_page {
  std::uint32_t number = 0;
  sqlite::page_hash hash;  // of the new image
};

// A commit in the copy's -wal.
struct observed_commit {
  std::uint32_t last_frame = 0;  // counted from 1
  std::uint32_t database_pages = 0;
  sqlite::page_hash register_after;
  bool heal = false;
  std::uint64_t number = 0;                            // of the transaction at its source; 0: none
  std::chrono::system_clock::time_point committed_at;  // at the source; epoch: not known
  std::vector<changed_page> pages;                     // each once; may be past database_pages
};

// The copy as it is. The files are the copy's own open ones (their locks with them): they must be let go of
// when released() says so, and only be read.
struct observed_image {
  std::shared_ptr<os::file> database;
  std::shared_ptr<os::file> wal;
  std::uint32_t page_size = 0;
  std::uint32_t database_pages = 0;
  sqlite::page_hash combined;
};

// A commit that was found in the -wal.
struct found_commit {
  std::uint32_t last_frame = 0;
  std::uint32_t database_pages = 0;
};

class copy_observer {
 public:
  virtual ~copy_observer() = default;

  // The copy was opened, or its -wal read again after another program touched it. `frames`: the page of each
  // frame in the -wal, up to the last of `commits`. The image is that after the last commit.
  virtual void opened(observed_image image, std::vector<std::uint32_t> frames,
                      std::vector<found_commit> commits) = 0;
  // These are durable and in the -wal; `frames`: the page of each frame since the commit before them.
  virtual void committed(std::vector<std::uint32_t> frames, std::vector<observed_commit> commits) = 0;
  // The copy would like to fold everything up to frame `upto`, a commit. Returns up to where it may: at once,
  // or after as long as a sync takes. `must`: the whole, in any case, soon.
  virtual std::uint32_t may_fold(std::uint32_t upto, bool must) = 0;
  // Everything is folded; frames count from 1 again.
  virtual void restarted() = 0;
  // A heal put a new file in the old one's place, with nothing in the -wal. `former` is the image before it,
  // without a database file when there was none; its file stays readable as long as it is kept. `different`:
  // the pages of `former` that are not the same in `image`, ascending.
  virtual void replaced(observed_image former, observed_image image, std::vector<std::uint32_t> different,
                        std::chrono::system_clock::time_point committed_at) = 0;
  // The copy lets go of its files: the observer has to have done so when this returns.
  virtual void released() = 0;
};

}  // namespace understudy::replica
