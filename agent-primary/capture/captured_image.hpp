#pragma once

// What is known of one database: the hash of every page of its last captured image, where each page's newest
// bytes lie, and who listens. This is the database_source that the channel sees.

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "agent-primary/capture/log_transaction.hpp"
#include "agent-primary/capture/transaction_queue.hpp"
#include "common/channel/database_source.hpp"
#include "common/os/unique_fd.hpp"
#include "common/sqlite/page_hash.hpp"
#include "common/sqlite/wal_format.hpp"

namespace understudy::capture {

using shared_fd = std::shared_ptr<const os::unique_fd>;

// The upper half (database_source) is for any thread; the lower half is for the capture's thread alone.
class captured_image final : public channel::database_source,
                             public std::enable_shared_from_this<captured_image> {
 public:
  // `wake` brings the capture's thread to its next turn; callable from any thread, for as long as the image
  // lives.
  captured_image(std::uint64_t queue_limit_bytes, std::function<void()> wake)
      : queue_limit_bytes_(queue_limit_bytes), wake_(std::move(wake)) {}

  channel::source_state state() const override;
  std::vector<sqlite::page_hash> hashes(std::uint32_t first, std::uint32_t count) const override;
  std::vector<sqlite::page_hash> block_hashes(std::uint32_t first, std::uint32_t block_pages,
                                              std::uint32_t count) const override;
  absl::StatusOr<channel::page_image> read_page(std::uint32_t number) const override;
  bool looked_since(std::chrono::steady_clock::time_point asked) override;
  absl::StatusOr<std::unique_ptr<channel::source_subscription>> subscribe() override;

  // --- the capture's thread ---

  // Somebody waits for a look (looked_since).
  bool look_asked() const { return look_asked_; }
  bool take_look_asked() { return look_asked_.exchange(false); }
  // A turn that began then found everything, and delivered it.
  void set_looked(std::chrono::steady_clock::time_point began) { looked_ = began; }
  // No database, or one that cannot be captured. Subscribers get a gap with this reason.
  void set_unavailable(channel::source_state::phase phase, const std::string& reason);
  // Forgets everything and starts a scan of this file. Subscribers get a gap with `reason`.
  void begin_scan(shared_fd database, std::uint32_t page_size, std::uint32_t pages,
                  const std::string& reason);
  // Hashes of the pages [first, first + hashes.size()), as the file has them; a page that a transaction wrote
  // since begin_scan keeps that. Returns nothing; progress shows in state().
  void add_scanned(std::uint32_t first, std::span<const sqlite::page_hash> hashes);
  bool is_written_since_scan(std::uint32_t page) const { return page < written_.size() && written_[page]; }
  void set_scanned(std::uint32_t pages);  // progress only
  void end_scan();
  // The file may show uncommitted pages (rollback-journal mode): read_page() then gives what the hashes name
  // or fails.
  void set_strict(bool strict);
  // Every subscription ends; scanning is the next thing to do.
  void lose(const std::string& reason);
  void close(const std::string& reason);

  // A new log generation, of whose frames none counts yet; the one before is in the database file by now.
  void begin_generation(shared_fd log, sqlite::salts salt);
  // The database file alone has the image.
  void end_generation();
  // Pages of ended generations, which the database file must by now hold as they were captured: all of the
  // last one's, a sample of each one's before. Empties the list.
  std::vector<std::uint32_t> take_retired() { return std::exchange(retired_, {}); }
  bool in_generation(std::uint32_t page) const { return frame_of_page_.contains(page); }

  // The database file has something else in this page (`found`) than what was committed. The image keeps what
  // was committed, so that a copy that has it keeps it, also when the file is read anew and nobody wrote the
  // page since; a commit that writes the page, or another file, ends that.
  void note_damage(std::uint32_t page, const sqlite::page_hash& found);
  bool is_damaged(std::uint32_t page) const { return damaged_.contains(page); }
  std::uint32_t damaged_pages() const { return static_cast<std::uint32_t>(damaged_.size()); }
  void forget_damage();
  void forget_damage(std::uint32_t page);
  // A copy that has not got them needs damaged pages, and there is nothing better than what the file has:
  // these become the image, as one more transaction.
  void give_up_wanted_damage();

  // One more commit. A transaction without its pages ends the subscriptions. A frame with number 0 stands for
  // a page of the database file (rollback-journal mode). Who waits for it is woken by deliver(), or when much
  // has come.
  void apply(log_transaction& transaction);
  void deliver();
  bool has_subscribers() const { return subscribers_.load(std::memory_order_relaxed) != 0; }
  std::uint64_t queue_limit_bytes() const { return queue_limit_bytes_; }
  channel::source_state::phase phase() const { return state_.now; }
  std::uint32_t pages() const { return state_.database_pages; }
  std::uint32_t page_size() const { return state_.page_size; }
  const sqlite::page_hash& hash_of(std::uint32_t page) const { return hashes_.at(page); }

  // The page as SQLite would read it now: from the log's generation, else from the file, else zeros.
  std::string read_newest(std::uint32_t page) const;

 private:
  struct place {  // where the newest bytes of a page lie
    shared_fd database;
    shared_fd log;
    sqlite::salts salt{};
    std::uint32_t frame = 0;  // 0: in the database file
    std::uint32_t page_size = 0;
  };
  place place_of(std::uint32_t page) const;
  static bool read_at(const place& where, std::uint32_t page, std::string& bytes);
  bool complete_pages(log_transaction& transaction) const;
  void end_subscriptions(channel::source_event::kind how, const std::string& reason);
  void notify_subscribers();

  const std::uint64_t queue_limit_bytes_;
  const std::function<void()> wake_;
  std::atomic<bool> look_asked_{false};
  std::atomic<std::chrono::steady_clock::time_point> looked_{};
  mutable std::mutex
      mutex_;  // everything below; written by the capture's thread only, which reads without it
  channel::source_state state_;
  sqlite::page_hash_array hashes_;
  shared_fd database_;
  shared_fd log_;
  sqlite::salts salt_{};
  absl::flat_hash_map<std::uint32_t, std::uint32_t> frame_of_page_;
  void retire(std::size_t most);

  struct damage {
    sqlite::page_hash committed;
    sqlite::page_hash found;
  };
  std::map<std::uint32_t, damage> damaged_;
  mutable std::set<std::uint32_t> damage_wanted_;  // read by a copy that lacks the page
  bool strict_ = false;
  std::vector<std::uint32_t> retired_;  // the capture's thread only
  std::vector<bool> written_;  // pages that a transaction wrote since begin_scan; empty when none runs
  std::vector<std::shared_ptr<transaction_queue>> queues_;
  std::atomic<std::size_t> subscribers_{0};
  std::uint64_t undelivered_bytes_ =
      0;  // of transactions whose subscribers were not woken; the capture's thread
};

}  // namespace understudy::capture
