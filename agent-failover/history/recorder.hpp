#pragma once

// Writes the history of one copy: reads out of its -wal what was committed, with the images before, and
// appends it to the log. Each change is proven before it counts: the register before, the hashes of the
// images taken and those of the pages written have to give the register after.
//
// What the log lacks after a crash is still in the copy's -wal, for the copy does not fold what is not
// recorded; the register tells where to go on.
//
// Threads: the observer's functions on the copy's thread, which they never keep waiting longer than a sync
// (may_fold); work() and tidy functions on the keeper's; the rest from any.

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "agent-failover/history/change_log.hpp"
#include "agent-failover/history/current_image.hpp"
#include "agent-failover/history/database_history.hpp"
#include "agent-failover/replica/copy_observer.hpp"

namespace understudy::history {

class recorder final : public database_history,
                       public replica::copy_observer,
                       public std::enable_shared_from_this<recorder> {
 public:
  struct environment {
    std::string server;          // for messages
    std::string catalog;         // for messages
    std::function<void()> wake;  // work() is wanted; any thread. Empty: may_fold() works by itself (tests)
    // Space for so many bytes more, by dropping what is oldest; false: there is none.
    std::function<bool(std::uint64_t)> make_room;
  };
  // `opens`: makes the log, on the keeper's thread, where its directory may be read at leisure.
  recorder(environment given, std::function<absl::StatusOr<std::unique_ptr<change_log>>()> opens);

  window range() const override;
  absl::StatusOr<moment> moment_at(clock_time time) override;
  absl::StatusOr<std::unique_ptr<view>> view_of(std::uint64_t wanted) override;
  void tell(std::weak_ptr<news> waiter) override;

  void opened(replica::observed_image image, std::vector<std::uint32_t> frames,
              std::vector<replica::found_commit> commits) override;
  void committed(std::vector<std::uint32_t> frames, std::vector<replica::observed_commit> commits) override;
  std::uint32_t may_fold(std::uint32_t upto, bool must) override;
  void restarted() override;
  void replaced(replica::observed_image former, replica::observed_image image,
                std::vector<std::uint32_t> different, clock_time committed_at) override;
  void released() override;

  // Nobody calls work() any more; folding goes on.
  void retire();
  // What the next interruption, if there is one, comes from.
  void expect_interruption(std::string why);

  // The keeper: records what is waiting. Returns when to be called again without being woken.
  std::optional<std::chrono::steady_clock::time_point> work();
  change_log* records() const;  // null before the first work()

 private:
  struct state {
    std::uint32_t page_size = 0;
    std::uint32_t pages = 0;
    sqlite::page_hash combined;
  };
  struct opened_work {
    replica::observed_image image;
    std::vector<std::uint32_t> frames;
    std::vector<replica::found_commit> commits;
  };
  struct commits_work {
    std::vector<std::uint32_t> frames;
    std::vector<replica::observed_commit> commits;
    bool estimated = false;  // found after a crash
  };
  struct replaced_work {
    replica::observed_image former;
    replica::observed_image image;
    std::vector<std::uint32_t> different;
    clock_time committed_at;
  };
  struct item {
    std::variant<opened_work, commits_work, replaced_work> what;
    clock_time applied_at;
    std::uint32_t first_frame = 0;  // before the work's frames
    std::uint32_t last_frame = 0;   // with them
    std::uint64_t transactions = 0;
  };
  // Pages of one change, in the order of the log.
  struct page_lists {
    std::vector<std::uint32_t> imaged;
    std::vector<std::uint32_t> listed;
  };
  using reader = std::function<absl::Status(std::uint32_t page, std::span<std::byte> bytes)>;

  // Under mutex_: everything that is being recorded or waits for it is void.
  void void_all();
  void push(item work);
  void give_up(const std::string& why);
  bool overrun(std::uint32_t upto) const;

  absl::Status record(const item& work);
  absl::Status record_opened(const opened_work& work, clock_time applied_at);
  absl::Status record_commits(const commits_work& work, std::uint32_t first_frame, clock_time applied_at);
  absl::Status record_replaced(const replaced_work& work, clock_time applied_at);
  absl::Status write_change(const change& c, const page_lists& pages, const reader& before,
                            const std::optional<sqlite::page_hash>& written);
  // Shows what was recorded; `to`: with another image from then on.
  absl::Status publish(const replica::observed_image* to = nullptr);
  // Readies the image without recording, then begins the log with state `now`.
  absl::Status skip(const std::vector<std::shared_ptr<const item>>& items,
                    const replica::observed_image& image, const state& now, const std::string& why);
  absl::Status begin(const state& now, std::string_view why, bool interrupted, clock_time committed_at,
                     clock_time applied_at);
  absl::Status still_wanted() const;
  absl::Status room_for(std::uint64_t bytes);
  void tell_waiters();

  const environment given_;
  const std::function<absl::StatusOr<std::unique_ptr<change_log>>()> opens_;
  std::unique_ptr<change_log> log_;
  std::atomic<change_log*> records_{nullptr};
  current_image image_;

  // The keeper's thread only.
  state state_;            // that the log (with what is not published yet) ends with
  frame_map unpublished_;  // frames of changes that are not flushed yet
  std::uint32_t unpublished_frame_ = 0;
  std::uint64_t working_on_ = 0;  // life_ when the present work was taken
  bool in_step_ = false;          // state_ is what the next commit builds on
  std::uint64_t next_ = 0;        // sequence
  bool compress_ = true;
  std::uint64_t since_room_ = 0;  // bytes appended since room was last asked for

  mutable std::mutex mutex_;  // guards what follows; taken after the image's lock, never before it
  std::condition_variable recorded_;
  std::deque<std::shared_ptr<const item>> queue_;  // until it is in the log
  std::uint64_t behind_ = 0;                       // transactions in queue_ or being recorded
  bool recording_ = false;                         // frames are waited for; false: folding loses nothing
  std::uint64_t life_ = 0;                         // grows when what is being recorded becomes void
  std::optional<std::string> gap_;                 // why the history has to begin anew, with the newest state
  replica::observed_image newest_image_;
  state newest_;  // of the copy, with all that is queued
  std::uint32_t newest_frame_ = 0;
  std::uint32_t recorded_frame_ = 0;
  std::uint32_t durable_frame_ = 0;
  bool sync_wanted_ = false;
  std::chrono::steady_clock::time_point waited_in_vain_{};
  std::optional<std::chrono::steady_clock::time_point> lagging_since_;
  bool retired_ = false;
  std::string expected_;  // what the next interruption comes from
  std::string failure_;   // why nothing is recorded at present

  std::mutex waiters_mutex_;
  std::vector<std::weak_ptr<news>> waiters_;
};

}  // namespace understudy::history
