#pragma once

// Follows one -wal file, from the moment it is opened to its end, also after the application unlinked it.
//
// What counts as committed is only what a wal-index header publishes (mxFrame): frames behind it may be
// rewritten in place or rolled back. Within a generation (one pair of salts) the cumulative checksum of the
// frames proves continuity. When the application starts the log over, the step of iChange must equal the
// commits seen; the end of the old generation that was not read in time is looked for behind the new frames,
// where it often still lies. Where there is no authoritative wal-index (a crashed application's log, an
// unlinked one) the log's own chain is read, as SQLite's recovery would.

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "agent-primary/capture/capture_metrics.hpp"
#include "agent-primary/capture/captured_image.hpp"
#include "agent-primary/capture/log_transaction.hpp"
#include "common/os/unique_fd.hpp"
#include "common/sqlite/wal_format.hpp"

namespace understudy::capture {

class log_follower {
 public:
  enum class result {
    nothing,     // as before
    progressed,  // something new was read, and all of it
    more,        // there is more than one turn's work
    unreadable,  // the wal-index is being written or rebuilt; come again
    lost,        // continuity is lost; reason() says how
  };

  // `born`: the file was created while we watched, so its first commit has iChange 1. Otherwise the first
  // generation met is taken from its beginning as it is. All references outlive the follower.
  log_follower(shared_fd log, bool born, captured_image& image, capture_metrics& metrics,
               std::vector<std::byte>& buffer, std::chrono::milliseconds longest_pin);

  // The -shm of this log; it becomes authoritative when a connection is seen on it.
  void attach_index(os::unique_fd index);
  bool has_index() const { return static_cast<bool>(index_); }
  const os::unique_fd& index() const { return index_; }
  int log() const { return log_->value(); }
  // Something truncated or extended -shm (an inotify event): unless it only grew it was rebuilt, and iChange
  // counts anew.
  void index_was_written();

  // Reads what the wal-index publishes.
  result poll();
  // For a log that no connection uses, and for an unlinked one: everything its chain of frames reaches.
  result read_by_chain();
  // For an unlinked log: everything that was committed to it.
  result finish();

  const std::string& reason() const { return reason_; }
  std::uint64_t commits() const { return commits_; }
  bool born() const { return born_; }
  std::uint32_t frames_in_generation() const { return committed_.frame; }
  // The application is connected (as last seen).
  bool in_use() const { return authoritative_; }
  void check_use();
  // Keeps the wal-index alive between connections, by the lock that each of them has. Only while one has it:
  // what nobody has open may be a remnant, and whoever opens it next must find that out. Returns whether it
  // is held.
  bool hold();
  void let_go();
  bool held() const { return held_; }
  bool others_connected() const;  // besides the hold
  // The wal-index says nothing, and nobody is about to fill it: until a connection recovers it from the log,
  // which each must before its first commit, what recovery would find is what is committed.
  bool awaits_recovery() const;

 private:
  struct position {
    std::uint32_t frame = 0;  // the last one read
    sqlite::wal_checksum chain;
  };
  struct commit_count {
    std::uint32_t all = 0;       // frames with a commit mark
    std::uint32_t distinct = 0;  // the same without repetitions of the frame before (psow=0 pads with them)
  };
  enum class reading { complete, partial, broken };

  result follow(const sqlite::wal_index_header& header);
  result change_generation(const sqlite::wal_index_header& header);
  bool rescue_tail(std::uint32_t missing);
  bool load_generation(const sqlite::salts& salt);
  reading read_to(std::uint32_t last, std::uint32_t frame_limit);
  std::optional<commit_count> count_commits(const sqlite::wal_header& header, std::uint32_t last) const;
  bool take(const sqlite::wal_frame_header& frame, std::span<const std::byte> page);
  void forget_uncommitted();
  void synchronise(std::uint32_t change);
  bool counts_match(std::uint32_t commits_by_index, const commit_count& seen) const;
  result lose(std::string reason);
  bool should_pin(const sqlite::wal_index_header& header) const;

  shared_fd log_;
  os::unique_fd index_;
  const bool born_;
  captured_image& image_;
  capture_metrics& metrics_;
  std::vector<std::byte>& buffer_;  // shared by all followers of the thread
  const std::chrono::milliseconds longest_pin_;

  bool held_ = false;
  bool authoritative_ = false;  // a connection holds the wal-index open
  off_t index_size_ = 0;
  std::optional<sqlite::wal_index_header> last_;  // the header read last, all of it followed

  std::optional<sqlite::wal_header> generation_;
  std::optional<sqlite::salts>
      empty_salt_;      // of the generation that will be written next, while there is none
  position at_;         // reading goes on here
  position committed_;  // the last commit of this generation
  log_transaction pending_;
  std::optional<log_transaction::frame> previous_commit_;  // a frame repeated after a commit is padding

  bool attached_ = false;      // there is a beginning that everything must continue from
  bool synchronised_ = false;  // change_ is iChange at the end of what was read, less `since_`
  std::uint32_t change_ = 0;
  commit_count since_;
  enum class padding { unknown, absent, present } padding_ = padding::unknown;

  std::uint32_t shortest_generation_ = 1000;  // frames; SQLite's default of wal_autocheckpoint
  std::uint64_t commits_ = 0;
  std::string reason_;
};

}  // namespace understudy::capture
