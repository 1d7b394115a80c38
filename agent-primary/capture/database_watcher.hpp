#pragma once

// One database: its files, which of them are there, what that means, and what to do next. Runs on the
// capture's thread; the channel sees only its captured_image.

#include <sys/stat.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "agent-primary/capture/capture_engine.hpp"
#include "agent-primary/capture/capture_metrics.hpp"
#include "agent-primary/capture/captured_image.hpp"
#include "agent-primary/capture/event_queue.hpp"
#include "agent-primary/capture/log_follower.hpp"
#include "agent-primary/capture/poll_pace.hpp"
#include "agent-primary/capture/rollback_follower.hpp"
#include "agent-primary/capture/scanner.hpp"

namespace understudy::capture {

class database_watcher final : public event_receiver {
 public:
  using time_point = std::chrono::steady_clock::time_point;

  // `events`, `buffer` and `databases` (how many there are) belong to the thread and outlive the watcher.
  // `wake` brings the thread to its next turn.
  database_watcher(std::string path, const capture_options& options, event_queue& events,
                   std::vector<std::byte>& buffer, const std::size_t& databases, std::function<void()> wake);
  ~database_watcher() override;

  const std::shared_ptr<captured_image>& image() const { return image_; }
  const std::string& path() const { return path_; }
  capture_metrics metrics() const;         // any thread
  void verify() { verify_asked_ = true; }  // any thread; the engine's thread has to be woken

  void hold(bool on) { hold_wanted_ = on; }  // any thread; see capture_engine

  void on_event(int watch, std::uint32_t mask, std::string_view name) override;
  // One turn, after all events were delivered that waited when it began. Returns when the next one is due.
  time_point step(time_point now, time_point began);
  time_point due() const { return verify_asked_ || image_->look_asked() ? time_point{} : due_; }
  bool events_may_wait(time_point now) const { return pace_.events_may_wait(now); }
  bool scanning() const { return image_->phase() == channel::source_state::phase::scanning; }
  // A scan that takes so long that it must not run before everybody else.
  bool long_scan() const {
    return scanning() && std::uint64_t{image_->pages()} * image_->page_size() > short_scan_bytes;
  }
  void close();

 private:
  static constexpr std::uint64_t short_scan_bytes = 64u << 20;  // some 20 ms from the page cache

  enum class stage {
    waiting,    // absent or refused: the path is tried again at each safety poll
    scanning,   // hashes are being built while the log is followed
    following,  // ready, WAL mode
    rollback,   // scanning or ready, rollback-journal mode
  };
  // One -wal file between its creation and its deletion, as inotify tells it; whether we could open it is
  // another matter. All writing of the database file happens within one (checkpoints), or else is no WAL
  // mode.
  struct lifetime {
    bool open = false;
    bool known = false;     // was there when the scan began: the log we hold is surely this one
    bool modified = false;  // the database file was written
  };

  void open_database();
  void close_files();
  void refuse(channel::source_state::phase phase, std::string reason);
  void begin_scan(const std::string& reason);
  void gap(const std::string& reason);
  void check_path();
  bool open_log(bool born);
  void watch_log(bool watch);
  void open_index();
  void finish_log();
  void drop_log();
  void on_log_created();
  void on_log_deleted();
  bool follow_log();
  bool settle();
  bool follow_rollback();
  void scan_turn();
  void verify_turn();
  void schedule_verification(std::chrono::steady_clock::duration since_last);
  void safety_check(time_point now);
  bool nobody_connected() const;
  bool index_is_private() const;
  bool locked_exclusively() const;
  void hold_or_let_go();
  void wake();
  void publish_metrics();

  const std::string path_;
  const capture_options options_;
  event_queue& events_;
  std::vector<std::byte>& buffer_;
  const std::size_t& databases_;
  const std::shared_ptr<captured_image> image_;

  stage stage_ = stage::waiting;
  time_point due_{};
  time_point next_safety_{};
  time_point last_safety_{};
  time_point not_before_{};  // a scan that keeps failing is not repeated at once
  std::chrono::milliseconds rescan_delay_{0};
  poll_pace pace_;

  std::string real_path_;  // symlinks resolved, as SQLite does: -wal lies beside the file itself
  std::string name_;
  shared_fd database_;
  struct ::stat status_ {};
  int directory_watch_ = -1;
  std::string watched_directory_;
  int database_watch_ = -1;
  int log_watch_ = -1;
  int index_watch_ = -1;

  std::optional<log_follower> log_;
  struct ::stat log_status_ {};
  bool rollback_settled_ = false;  // nothing was left to compare
  bool caught_up_ = true;          // this turn read all that was published
  bool log_read_ = false;          // its beginning is read: the scan may go on
  time_point log_unreadable_since_{};
  time_point private_since_{};
  time_point exclusive_since_{};
  lifetime lifetime_;
  unsigned modified_lifetimes_ = 0;  // ended since the last settling, with the database file written
  unsigned captured_lifetimes_ = 0;  // ended likewise, and read out, with commits
  bool modified_outside_ = false;
  bool path_changed_ = false;
  bool events_lost_ = false;

  scanner scanner_;
  bool scanned_ = false;
  std::vector<std::uint32_t> unverified_;
  unsigned verify_failures_ = 0;
  struct ::stat damage_file_ {};  // in which damaged pages were found
  std::atomic<bool> verify_asked_{false};
  std::atomic<bool> hold_wanted_{false};
  bool holding_ = false;  // SHARED on the database file
  time_point hold_until_{};
  bool verify_now_ = false;         // asked for, and to be begun
  std::uint32_t verify_next_ = 1;   // page of the round through the whole file
  std::uint32_t verify_until_ = 0;  // to be verified without delay
  double verify_credit_ = 0;        // pages that the period allows by now
  rollback_follower rollback_;

  capture_metrics metrics_;
  mutable std::mutex metrics_mutex_;
  capture_metrics published_;
};

}  // namespace understudy::capture
