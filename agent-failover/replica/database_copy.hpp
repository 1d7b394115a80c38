#pragma once

// The standby copy of one database: pages go in as valid frames of the copy's own -wal, so that at every
// instant, kill -9 and power cuts included, stock SQLite opens it and shows a committed prefix that is never
// behind the last commit_durably(). How, and what goes wrong otherwise: design of the apply path in
// docs/architecture.
//
// Held for the whole life, with open-file-description locks on raw descriptors of our own: SHARED on the
// database file (a reader's close would delete the -wal) and the wal-index's dead man's switch. libsqlite
// never opens the copy in this process while it is held.
//
// After a failed write or sync the copy refuses everything (its state on the disk is unknown) until resume().
//
// Threads: used by one thread at a time.

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "agent-failover/replica/copy_observer.hpp"
#include "agent-failover/replica/copy_wal.hpp"
#include "agent-failover/replica/wal_index.hpp"
#include "common/channel/database_sink.hpp"
#include "common/os/file_system.hpp"
#include "common/sqlite/page_hash.hpp"

namespace understudy::replica {

// Beside a copy's name: what a heal that was cut off has brought.
inline constexpr const char* unfinished_suffix = "-unfinished";

struct copy_options {
  std::uint64_t fold_bytes = 4 << 20;   // fold_if_due() folds from this size of the -wal on; twice that and
                                        // the next transaction folds by itself
  std::uint64_t spill_bytes = 4 << 20;  // a transaction larger than this goes to the -wal as it comes
  std::chrono::milliseconds patience{5000};            // for locks that readers hold for milliseconds
  std::chrono::milliseconds exclusive_patience{2000};  // for readers to go away: stand-in, new file
  mode_t permissions = 0640;                           // of a copy that has no file yet
  std::shared_ptr<copy_observer> observer = nullptr;   // who keeps its past
};

// What an operator may want to know.
struct copy_figures {
  std::uint64_t wal_bytes = 0;
  std::uint64_t folds = 0;                // that emptied the -wal
  std::string fold_blocked_by;            // empty, or the reader that keeps the -wal from being emptied
  std::uint64_t foreign_checkpoints = 0;  // another program checkpointed the copy; survived
  std::uint64_t foreign_writes = 0;       // another program changed the copy; a heal was asked for
};

class database_copy final : public channel::database_sink {
 public:
  // Recovers what lies there and builds the hash array (reads everything once). No database file, or one that
  // is not a database: state().exists is false, and the first heal makes it. kUnavailable: someone holds it
  // exclusively.
  static absl::StatusOr<std::unique_ptr<database_copy>> open(std::unique_ptr<os::directory> directory,
                                                             std::string name, copy_options options = {});
  ~database_copy() override;

  channel::sink_state state() const override;
  channel::known_image known() const override;
  std::vector<sqlite::page_hash> hashes(std::uint32_t first, std::uint32_t count) const override;
  std::vector<sqlite::page_hash> block_hashes(std::uint32_t first, std::uint32_t block_pages,
                                              std::uint32_t count) const override;
  absl::Status add_pages(std::uint32_t page_size, std::span<const channel::page_image> pages) override;
  absl::Status end_transaction(const channel::transaction_header& header) override;
  // kFailedPrecondition when another program changed the copy (state() is then what is there: heal);
  // kUnavailable when another program keeps the wal-index's WRITE lock (may be called again).
  absl::Status commit_durably() override;
  absl::Status begin_heal(channel::heal_way way, std::uint32_t page_size) override;
  absl::Status end_heal(std::uint32_t database_pages, const sqlite::page_hash& hash_after) override;
  void abandon() override;
  void captured_at(std::chrono::system_clock::time_point time) override { captured_at_ = time; }

  // Folds the -wal into the database file when it is due; call it after acknowledging, when there is time.
  absl::Status fold_if_due();
  // As far as readers allow; figures() says who is in the way.
  absl::Status fold();
  // The committed, durable image of a page; `page` has state().page_size bytes. kOutOfRange past the end.
  absl::Status read_page(std::uint32_t number, std::span<std::byte> page);
  // Reads the copy again, from the disk where the system permits, and compares it with the hash array, page
  // by page, from `first` on, `count` pages at most. Returns the pages that differ. kUnavailable while a
  // transaction waits for its sync: ask again.
  absl::StatusOr<std::vector<std::uint32_t>> scrub(std::uint32_t first, std::uint32_t count);
  // What scrub() found is what the copy has: the hash array follows, so that the next comparison with the
  // source finds these pages, and a transaction that builds on the old state is refused.
  absl::Status disown(const std::vector<std::uint32_t>& pages);
  copy_figures figures() const;
  // Why everything is refused since a write or sync failed; resume() reads what is there and ends it.
  const absl::Status& condition() const { return broken_; }

  // Folds everything, proves that nobody has the copy open (kFailedPrecondition names who has), removes -wal
  // and -shm and lets go: on return a plain database file is there for the stand-in, and every call but
  // resume() and state() is kFailedPrecondition. On failure the copy goes on as before.
  absl::Status prepare_for_stand_in();
  // Takes the copy back, with whatever the stand-in wrote. kFailedPrecondition, naming it, while anybody has
  // it open.
  absl::Status resume();

  // Lets go of the files and of the observer for good: whoever has the copy still finds that there is none,
  // and every call is kFailedPrecondition.
  void close();
  // From resume() on; only while the copy is handed to a stand-in.
  void observed_by(std::shared_ptr<copy_observer> observer) { options_.observer = std::move(observer); }

  // A new generation takes the copy's place in two steps, so that several copies can change together:
  // hold_alone() for each, which keeps every other program out (kFailedPrecondition names who is in), the
  // decision, exchange_with() for each. let_in() takes back the first where the second does not follow.
  absl::Status hold_alone();
  void let_in();
  // The plain database file `name` in `from` (same filesystem, synced, nobody has it open; `hashes`: of its
  // pages; `committed_at`: as of when, at the source) takes the database's name; what was there, if anything,
  // has the other name then. On failure the copy is as before, or refuses everything until resume().
  absl::Status exchange_with(os::directory& from, const std::string& name, std::uint32_t page_size,
                             sqlite::page_hash_array hashes,
                             std::chrono::system_clock::time_point committed_at);
  const sqlite::page_hash_array& page_hashes() const { return hashes_; }

 private:
  // The file that a new_file heal fills, each page at its place. It outlives the heal that was cut off:
  // nothing in it counts but by its hash.
  struct new_file {
    std::unique_ptr<os::file> file;
    std::uint32_t page_size = 0;
    sqlite::page_hash_array hashes;  // of the pages brought
    std::vector<bool> brought;
    std::uint32_t brought_pages = 0;  // how many of them
    bool under_way = true;            // false: it was cut off, and waits for the next heal
    std::string run;                  // contiguous pages not written yet
    std::uint32_t run_first = 0;
    std::uint64_t unflushed = 0;   // bytes since writeback was last asked for
    std::uint64_t unsynced = 0;    // ... and since the last sync
    bool complete = false;         // end_heal() accepted it: commit_durably() puts it in place
    bool through_the_wal = false;  // as a transaction, not as a file
  };

  database_copy(std::unique_ptr<os::directory> directory, std::string name, copy_options options);

  std::string wal_name() const { return name_ + "-wal"; }
  std::string shm_name() const { return name_ + "-shm"; }
  std::string heal_name() const { return name_ + "-heal"; }
  std::string unfinished_name() const { return name_ + unfinished_suffix; }

  void let_go();
  absl::Status load(bool alone);
  absl::Status load_files(bool alone);
  absl::Status roll_back_hot_journal();
  absl::Status usable() const;
  absl::Status hash_everything();
  absl::Status read_stored(std::uint32_t number, std::span<std::byte> page);
  absl::StatusOr<std::vector<std::uint32_t>> scrub_wal();
  absl::StatusOr<bool> is_untouched();
  absl::Status reconcile();
  absl::Status broken(absl::Status why);

  // The other end may lie: a size, or the distance of a page, costs memory only as far as pages came for it.
  absl::Status check_size(std::uint32_t claimed, std::uint32_t present, std::size_t brought) const;
  absl::Status check_pages(std::uint32_t page_size, std::span<const channel::page_image> pages) const;
  absl::Status add_frame(std::uint32_t number, std::string bytes);
  absl::Status spill();
  absl::Status end_pending(std::uint32_t database_pages, const sqlite::page_hash& hash_after,
                           std::uint64_t number);
  void observe_opened() const;
  void observe_commits(std::uint32_t after);
  observed_image image() const;
  sqlite::page_hash register_after(std::uint32_t database_pages) const;

  absl::Status fold_under_write_lock();
  absl::StatusOr<std::uint32_t> safe_frame();
  absl::Status write_back(std::uint32_t upto);

  // Keeps what a heal has brought for the next one.
  void suspend_heal();
  void discard_unfinished();
  absl::Status load_unfinished();
  bool overlays() const;
  sqlite::page_hash known_hash(std::uint32_t number) const;

  absl::Status add_to_new_file(std::span<const channel::page_image> pages);
  absl::Status write_run();
  absl::Status complete_new_file(std::uint32_t database_pages, const sqlite::page_hash& hash_after);
  absl::Status switch_to_new_file();
  absl::Status replace_database(os::directory& from, const std::string& name);
  absl::Status release_retired();
  absl::Status release_retired(std::chrono::milliseconds patience);
  absl::Status carry_new_file_through_wal();
  absl::Status lock_exclusively();
  void unlock_to_shared();

  std::unique_ptr<os::directory> directory_;
  std::string name_;
  copy_options options_;

  std::shared_ptr<os::file> database_;
  std::shared_ptr<os::file> retired_;  // what a new file replaced, until nobody has it open
  bool retired_is_kept_ = false;  // it has another name than heal_name(), and is somebody else's to remove
  bool alone_ = false;            // hold_alone()
  std::unique_ptr<wal_index> index_;
  std::unique_ptr<copy_wal> wal_;
  struct ::stat identity_ {};
  bool exists_ = false;
  bool standing_in_ = false;
  bool closed_ = false;
  absl::Status broken_;

  std::uint32_t page_size_ = 0;
  sqlite::page_hash_array hashes_;   // with every ended transaction
  std::uint32_t durable_pages_ = 0;  // as of the last commit_durably()
  sqlite::page_hash durable_register_;

  std::vector<unwritten_frame> ended_;    // transactions that ended and are not in the -wal yet
  std::vector<unwritten_frame> pending_;  // of the transaction under way
  std::unordered_map<std::uint32_t, sqlite::page_hash> pending_hashes_;
  std::uint64_t pending_bytes_ = 0;
  std::vector<observed_commit> notes_;  // of ended transactions, for the observer
  std::chrono::system_clock::time_point captured_at_;
  bool healing_ = false;
  bool must_publish_ = false;
  std::unique_ptr<new_file> new_file_;

  std::uint32_t folded_ = 0;         // frames that are in the database file, durably
  std::uint32_t next_own_fold_ = 0;  // frame from which a blocked fold is tried again
  bool must_fold_ = false;           // the observer's log is not waited for
  copy_figures figures_;
};

}  // namespace understudy::replica
