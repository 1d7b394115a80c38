#include "agent-primary/capture/database_watcher.hpp"

#include <fcntl.h>
#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "agent-primary/capture/file_locks.hpp"
#include "common/log/log.hpp"
#include "common/status/errno_status.hpp"
#include "common/status/status_text.hpp"

namespace understudy::capture {
namespace {

using channel::source_state;
using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr std::uint32_t directory_events =
    IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO | IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR;
constexpr auto unreadable_limit = std::chrono::seconds(2);  // a recovery of a large log takes some 100 ms
constexpr auto private_limit = std::chrono::seconds(1);
constexpr milliseconds safety_share{
    4};  // per database: a check costs some 10 us, of 1,000 databases 0.3 % of a core
constexpr std::chrono::seconds hold_after_life{2};  // the last sign of it; the log itself stays
constexpr milliseconds longest_rescan_delay{250};   // while a database keeps changing under its scan
constexpr std::uint64_t many_frames = 48;  // in one turn: a larger log would be reset before we have read it

constexpr const char* exclusive_reason =
    "the application uses locking_mode=EXCLUSIVE, which keeps the database to itself: set it to NORMAL";

bool same_file(const struct ::stat& a, const struct ::stat& b) {
  return a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

os::unique_fd open_for_reading(const std::string& path) {
  return os::unique_fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
}

}  // namespace

database_watcher::database_watcher(std::string path, const capture_options& options, event_queue& events,
                                   std::vector<std::byte>& buffer, const std::size_t& databases,
                                   std::function<void()> wake)
    : path_(std::move(path)),
      options_(options),
      events_(events),
      buffer_(buffer),
      databases_(databases),
      image_(std::make_shared<captured_image>(options.queue_limit_bytes, std::move(wake))),
      pace_(options.shortest_poll, options.longest_poll, options.active_for) {}

database_watcher::~database_watcher() {
  close_files();
  if (directory_watch_ >= 0) events_.unwatch(*this, directory_watch_);
}

void database_watcher::close() {
  close_files();
  image_->close("the capture of this database was ended");
  publish_metrics();
}

capture_metrics database_watcher::metrics() const {
  std::lock_guard lock(metrics_mutex_);
  return published_;
}

void database_watcher::publish_metrics() {
  metrics_.damaged_pages = image_->damaged_pages();
  std::lock_guard lock(metrics_mutex_);
  published_ = metrics_;
}

void database_watcher::wake() {
  const auto now = steady_clock::now();
  pace_.wake(now);
  hold_until_ = now + hold_after_life;
  due_ = now;
}

void database_watcher::drop_log() {
  if (log_watch_ >= 0) events_.unwatch(*this, std::exchange(log_watch_, -1));
  if (index_watch_ >= 0) events_.unwatch(*this, std::exchange(index_watch_, -1));
  log_.reset();
  log_read_ = true;
  log_unreadable_since_ = {};
}

void database_watcher::close_files() {
  drop_log();
  if (database_watch_ >= 0) events_.unwatch(*this, std::exchange(database_watch_, -1));
  // The image may keep the descriptor for a while, and a lock is the descriptor's.
  if (std::exchange(holding_, false))
    set_lock(database_->value(), F_UNLCK, sqlite::db_shared_first, sqlite::db_shared_size);
  database_.reset();
  unverified_.clear();
}

void database_watcher::refuse(source_state::phase phase, std::string reason) {
  close_files();
  stage_ = stage::waiting;
  if (image_->phase() == phase && image_->state().reason == reason) return;
  if (phase == source_state::phase::refused) log::warning(path_, "cannot be captured: {}", reason);
  image_->set_unavailable(phase, reason);
}

// Everything about the path from the beginning. What it finds decides the stage.
void database_watcher::open_database() {
  stage_ = stage::waiting;
  path_changed_ = false;
  std::array<char, PATH_MAX> resolved;
  if (::realpath(path_.c_str(), resolved.data()) == nullptr) {
    const int error = errno;
    if (error == ENOENT) return refuse(source_state::phase::absent, "there is no such file yet");
    return refuse(source_state::phase::refused,
                  fmt::format("{}; check that the agent may search every directory of the path",
                              message_of(errno_status(error, "resolve", path_))));
  }
  real_path_ = resolved.data();
  const std::size_t slash = real_path_.rfind('/');
  name_ = real_path_.substr(slash + 1);
  const std::string directory = slash == 0 ? "/" : real_path_.substr(0, slash);
  if (directory_watch_ < 0 || watched_directory_ != directory) {
    if (directory_watch_ >= 0) events_.unwatch(*this, directory_watch_);
    directory_watch_ = events_.watch(*this, directory, directory_events);
    watched_directory_ = directory;
    if (directory_watch_ < 0) {
      return refuse(source_state::phase::refused,
                    fmt::format("{}; raise fs.inotify.max_user_watches",
                                message_of(errno_status(errno, "watch", directory))));
    }
  }
  os::unique_fd file = open_for_reading(real_path_);
  if (!file) {
    const int error = errno;
    if (error == ENOENT) return refuse(source_state::phase::absent, "there is no such file yet");
    return refuse(source_state::phase::refused, fmt::format("{}; check that the agent may read it",
                                                            message_of(errno_status(error, "open", path_))));
  }
  if (::fstat(file.value(), &status_) != 0 || !S_ISREG(status_.st_mode)) {
    return refuse(source_state::phase::refused, "it is not a regular file");
  }
  if (status_.st_size == 0)
    return refuse(source_state::phase::absent, "the file is empty: no database was made in it yet");
  close_files();
  if (image_->damaged_pages() != 0 && !same_file(status_, damage_file_)) image_->forget_damage();
  database_ = std::make_shared<const os::unique_fd>(std::move(file));
  database_watch_ = events_.watch_file(*this, database_->value(), IN_MODIFY | IN_ATTRIB);
  begin_scan(image_->state().reason);
}

void database_watcher::begin_scan(const std::string& reason) {
  drop_log();
  scanned_ = false;
  lifetime_ = {};
  modified_lifetimes_ = captured_lifetimes_ = 0;
  modified_outside_ = events_lost_ = false;
  unverified_.clear();
  verify_failures_ = 0;
  verify_until_ = 0;
  if (::fstat(database_->value(), &status_) != 0) return;
  std::array<std::byte, 100> bytes;
  if (::pread(database_->value(), bytes.data(), bytes.size(), 0) != static_cast<ssize_t>(bytes.size())) {
    return refuse(source_state::phase::refused,
                  "it is shorter than a SQLite header: check that it is a SQLite database");
  }
  const auto header = sqlite::parse_database_header(bytes);
  const bool refused = image_->phase() == source_state::phase::refused;
  if (refused && (header && !header->wal_mode ? locked_exclusively() : index_is_private())) {
    return refuse(source_state::phase::refused, exclusive_reason);
  }
  if (!header) {
    return refuse(source_state::phase::refused,
                  "it is not a SQLite database, or an encrypted one: check the path in the configuration");
  }
  image_->begin_scan(database_, header->page_size,
                     database_pages(*header, static_cast<std::uint64_t>(status_.st_size)), reason);
  stage_ = stage::scanning;
  scanner_.begin();
  log_read_ = true;
  image_->set_strict(!header->wal_mode);
  if (!header->wal_mode) {
    stage_ = stage::rollback;
    rollback_.begin(true);
    return wake();
  }
  if (open_log(false)) {
    lifetime_ = {.open = true, .known = true, .modified = false};
    log_read_ = false;
  }
  wake();
}

void database_watcher::gap(const std::string& reason) {
  const auto now = steady_clock::now();
  if (stage_ == stage::following || (stage_ == stage::rollback && !scanning())) {
    ++metrics_.gaps;
    log::info(path_, "comparing again: {}", reason);
    rescan_delay_ = milliseconds(0);
  } else {
    rescan_delay_ = std::clamp(rescan_delay_ * 2, milliseconds(1), longest_rescan_delay);
  }
  image_->lose(reason);
  drop_log();
  stage_ = stage::scanning;
  scanned_ = false;
  log_read_ = false;
  not_before_ = now + rescan_delay_;
  wake();
}

bool database_watcher::open_log(bool born) {
  os::unique_fd file = open_for_reading(real_path_ + "-wal");
  if (!file) return false;
  struct ::stat status;
  if (::fstat(file.value(), &status) != 0 || !S_ISREG(status.st_mode)) return false;
  log_status_ = status;
  auto log = std::make_shared<const os::unique_fd>(std::move(file));
  log_.emplace(std::move(log), born, *image_, metrics_, buffer_, options_.longest_pin);
  watch_log(true);
  open_index();
  return true;
}

void database_watcher::watch_log(bool watch) {
  if (!log_ || watch == (log_watch_ >= 0)) return;
  if (watch) {
    log_watch_ = events_.watch_file(*this, log_->log(), IN_MODIFY);
  } else {
    events_.unwatch(*this, std::exchange(log_watch_, -1));
  }
}

void database_watcher::open_index() {
  if (!log_ || log_->has_index()) return;
  os::unique_fd file = open_for_reading(real_path_ + "-shm");
  struct ::stat status;
  if (!file || ::fstat(file.value(), &status) != 0 || !S_ISREG(status.st_mode)) return;
  index_watch_ = events_.watch_file(*this, file.value(), IN_MODIFY);
  log_->attach_index(std::move(file));
}

void database_watcher::finish_log() {
  const auto outcome = log_->finish();
  const bool commits = log_->commits() > 0;
  const std::string reason = log_->reason();
  image_->end_generation();
  drop_log();
  if (outcome == log_follower::result::lost || outcome == log_follower::result::unreadable) {
    return gap(reason.empty() ? "the deleted log could not be read to its end" : reason);
  }
  ++metrics_.short_logs;
  if (commits && !lifetime_.known) ++captured_lifetimes_;
}

void database_watcher::on_log_created() {
  struct ::stat status;
  const bool there = ::stat((real_path_ + "-wal").c_str(), &status) == 0;
  if (log_ && there && same_file(status, log_status_)) {
    if (lifetime_.known && lifetime_.open) return;  // the event of the log that the scan began with
    lifetime_ = {.open = true, .known = false, .modified = false};
    return;
  }
  if (log_) finish_log();
  lifetime_ = {.open = true, .known = false, .modified = false};
  if (stage_ == stage::scanning && !log_read_) return;  // a scan begins soon, and looks for itself
  if (!open_log(true)) ++metrics_.unseen_logs;
}

void database_watcher::on_log_deleted() {
  struct ::stat status;
  if (log_ && ::fstat(log_->log(), &status) == 0 && status.st_nlink == 0) finish_log();
  if (lifetime_.open && !lifetime_.known && lifetime_.modified) ++modified_lifetimes_;
  lifetime_ = {};
}

void database_watcher::on_event(int watch, std::uint32_t mask, std::string_view name) {
  if ((mask & IN_Q_OVERFLOW) != 0) {
    events_lost_ = path_changed_ = true;
    return wake();
  }
  if ((mask & IN_IGNORED) != 0) {
    if (watch == directory_watch_) directory_watch_ = -1;
    path_changed_ = true;
    return;
  }
  const bool active = stage_ == stage::scanning || stage_ == stage::following;
  if (watch == database_watch_) {
    if ((mask & IN_MODIFY) != 0 && stage_ == stage::rollback) rollback_.disturb();
    if ((mask & IN_MODIFY) != 0) {
      (lifetime_.open ? lifetime_.modified : modified_outside_) = true;
      pace_.written_back(steady_clock::now());
    }
    if ((mask & IN_ATTRIB) != 0) path_changed_ = true;
    return wake();
  }
  if (watch == log_watch_) return wake();
  if (watch == index_watch_) {
    if (log_) log_->index_was_written();
    return wake();
  }
  if (watch != directory_watch_) return;
  if ((mask & (IN_DELETE_SELF | IN_MOVE_SELF)) != 0) path_changed_ = true;
  if (name_.empty() || name.substr(0, name_.size()) != name_) return;
  const std::string_view suffix = name.substr(name_.size());
  const bool created = (mask & (IN_CREATE | IN_MOVED_TO)) != 0;
  if (suffix.empty()) {
    path_changed_ = true;
    wake();
  } else if (suffix == "-wal") {
    if (active) created ? on_log_created() : on_log_deleted();
    if (stage_ == stage::rollback) rollback_.disturb();
    wake();
  } else if (suffix == "-journal") {
    if (stage_ == stage::rollback) rollback_.disturb();
    wake();
  } else if (suffix == "-shm") {
    if (active && created) open_index();
    wake();
  }
}

void database_watcher::check_path() {
  path_changed_ = false;
  struct ::stat status;
  if (::stat(path_.c_str(), &status) == 0 && same_file(status, status_)) return;
  if (stage_ == stage::following || (stage_ == stage::rollback && !scanning())) ++metrics_.gaps;
  image_->lose("the database file was replaced or removed");
  open_database();
}

// Nobody has the database open: no connection holds SHARED, as each one in WAL mode does for its whole life.
bool database_watcher::nobody_connected() const {
  return conflicting_lock(database_->value(), F_WRLCK, sqlite::db_pending_byte, 2 + sqlite::db_shared_size) ==
         F_UNLCK;
}

// A connection with locking_mode=EXCLUSIVE keeps its wal-index in memory, and the database locked.
bool database_watcher::index_is_private() const {
  struct ::stat status;
  return ::stat((real_path_ + "-wal").c_str(), &status) == 0 &&
         ::stat((real_path_ + "-shm").c_str(), &status) != 0 && locked_exclusively();
}

// Never SHARED alone: every open would rebuild the wal-index, and the log would never start over.
void database_watcher::hold_or_let_go() {
  const auto now = steady_clock::now();
  // Whoever needs the database for itself, a failback for one, finds it free when nobody has used it for a
  // while.
  if (holding_ && log_ && log_->others_connected()) hold_until_ = now + hold_after_life;
  const bool wanted =
      hold_wanted_ && log_ && now < hold_until_ && (stage_ == stage::scanning || stage_ == stage::following);
  if (!wanted) {
    if (std::exchange(holding_, false))
      set_lock(database_->value(), F_UNLCK, sqlite::db_shared_first, sqlite::db_shared_size);
    if (log_) log_->let_go();
    return;
  }
  if (holding_ && log_->held()) return;
  if (!log_->hold()) return;
  // As SQLite takes it: not while somebody waits to write the file.
  holding_ = conflicting_lock(database_->value(), F_RDLCK, sqlite::db_pending_byte, 1) == F_UNLCK &&
             set_lock(database_->value(), F_RDLCK, sqlite::db_shared_first, sqlite::db_shared_size);
  if (!holding_) log_->let_go();
}

bool database_watcher::locked_exclusively() const {
  return conflicting_lock(database_->value(), F_RDLCK, sqlite::db_shared_first, sqlite::db_shared_size) ==
         F_WRLCK;
}

// Returns whether there is more to do at once.
bool database_watcher::follow_rollback() {
  if (std::exchange(events_lost_, false)) rollback_.disturb();
  modified_outside_ = false;
  const auto outcome =
      rollback_.turn(*image_, database_->value(), real_path_ + "-journal", options_.scan_slice, buffer_);
  rollback_settled_ =
      outcome == rollback_follower::result::idle || outcome == rollback_follower::result::settled;
  const bool locked = outcome == rollback_follower::result::waiting && locked_exclusively();
  if (!locked) exclusive_since_ = {};
  switch (outcome) {
    case rollback_follower::result::idle:
      return false;
    case rollback_follower::result::waiting: {
      const auto now = steady_clock::now();
      if (locked && exclusive_since_ == time_point{}) exclusive_since_ = now;
      // A transaction that the disk holds up has its journal.
      if (locked && now - exclusive_since_ > options_.exclusive_limit &&
          !has_hot_journal(real_path_ + "-journal")) {
        exclusive_since_ = {};
        ++metrics_.gaps;
        refuse(source_state::phase::refused, exclusive_reason);
        return false;
      }
      pace_.stay_active(now);  // the end of a lock makes no event
      return false;
    }
    case rollback_follower::result::working:
      return true;
    case rollback_follower::result::settled:
      if (scanning()) {
        ++metrics_.scans;
        image_->end_scan();
      } else {
        ++metrics_.synthetic;
      }
      ++metrics_.verify_rounds;
      return false;
    case rollback_follower::result::replaced:
      gap("the database was converted or replaced");
      return true;
  }
  return false;
}

// Reads the log as far as it goes for this turn. Returns whether the database seems active.
bool database_watcher::follow_log() {
  caught_up_ = true;
  if (!log_) return false;
  auto outcome = log_->poll();
  const bool unrecovered = outcome == log_follower::result::unreadable && log_->awaits_recovery();
  if (unrecovered || (!log_read_ && outcome == log_follower::result::nothing)) {
    if (log_->in_use() && !unrecovered) {
      log_read_ = true;
    } else if (unrecovered || nobody_connected()) {
      outcome = log_->read_by_chain();
      // A first connection that came meanwhile rebuilds the index from the same frames.
      if (outcome != log_follower::result::lost) log_read_ = true;
    }
  }
  caught_up_ = outcome == log_follower::result::nothing || outcome == log_follower::result::progressed;
  switch (outcome) {
    case log_follower::result::lost:
      gap(log_->reason());
      return true;
    case log_follower::result::unreadable: {
      const auto now = steady_clock::now();
      if (log_unreadable_since_ == time_point{}) log_unreadable_since_ = now;
      if (now - log_unreadable_since_ > unreadable_limit) {
        log_unreadable_since_ = {};
        gap("the wal-index cannot be read");
      }
      return pace_.active(now);
    }
    case log_follower::result::progressed:
      log_read_ = true;
      [[fallthrough]];
    case log_follower::result::more:
      log_unreadable_since_ = {};
      return true;
    case log_follower::result::nothing:
      log_unreadable_since_ = {};
      return false;
  }
  return false;
}

// Judges what the events of this turn say. False when it ended in a gap.
bool database_watcher::settle() {
  const unsigned modified = std::exchange(modified_lifetimes_, 0);
  const unsigned captured = std::exchange(captured_lifetimes_, 0);
  if (std::exchange(modified_outside_, false)) {
    image_->forget_damage();
    gap("the database file was written while it had no write-ahead log");
    return false;
  }
  if (modified > captured) {
    gap(fmt::format("{} short-lived logs changed the database, {} of them could be read", modified,
                    captured));
    return false;
  }
  if (std::exchange(events_lost_, false) && (!log_ || !log_->in_use())) {
    gap("inotify lost events");
    return false;
  }
  return true;
}

void database_watcher::scan_turn() {
  if (scanned_) {
    // The log was followed and all events judged since the last page was hashed.
    scanned_ = false;
    rescan_delay_ = milliseconds(0);
    ++metrics_.scans;
    stage_ = stage::following;
    image_->take_retired();
    image_->end_scan();
    return;
  }
  if (log_ && !log_read_) return;
  scanned_ = scanner_.turn(*image_, database_->value(), options_.scan_slice, buffer_);
}

void database_watcher::safety_check(time_point now) {
  next_safety_ = now + std::max<steady_clock::duration>(options_.safety_poll, databases_ * safety_share);
  // Together with others', so that many idle databases do not wake the thread one by one.
  next_safety_ += options_.safety_poll - next_safety_.time_since_epoch() % options_.safety_poll;
  const auto since_last = last_safety_ == time_point{} ? time_point::duration{} : now - last_safety_;
  last_safety_ = now;
  path_changed_ = true;
  if (stage_ == stage::rollback) rollback_.check(database_->value());
  schedule_verification(since_last);
  const auto was_private_since = std::exchange(private_since_, {});
  if (!log_) return;
  open_index();
  log_->check_use();
  if (log_->in_use()) return;
  struct ::stat status;
  if (::fstat(log_->log(), &status) != 0 || status.st_nlink == 0) return;  // its deletion is about to be told
  if (nobody_connected()) {
    log_read_ = false;  // a crashed application's log: what recovery would find in it counts
  }
  // The last connection's closing looks the same for a moment.
  if (!index_is_private()) return;
  private_since_ = was_private_since == time_point{} ? now : was_private_since;
  if (now - private_since_ > private_limit) refuse(source_state::phase::refused, exclusive_reason);
}

database_watcher::time_point database_watcher::step(time_point now, time_point began) {
  const bool asked = verify_asked_.exchange(false);
  verify_now_ = verify_now_ || asked;
  const bool look = image_->take_look_asked();
  if (now >= next_safety_ || asked || look) safety_check(now);
  if (path_changed_) stage_ == stage::waiting ? open_database() : check_path();
  bool busy = false;
  const std::uint64_t frames_before = metrics_.frames;
  const std::uint64_t resets_before = metrics_.resets;
  if (stage_ == stage::scanning && now < not_before_) {
    publish_metrics();
    return due_ = not_before_;
  }
  if (stage_ == stage::scanning && not_before_ != time_point{}) {
    not_before_ = {};
    open_database();
  }
  if (stage_ == stage::scanning || stage_ == stage::following) {
    hold_or_let_go();
    busy = follow_log();
    const bool whole = not_before_ == time_point{} && settle() && caught_up_;
    if (whole && stage_ == stage::scanning) {
      scan_turn();
      busy = busy || log_read_;
    } else if (whole && stage_ == stage::following) {
      image_->set_looked(began);
      image_->give_up_wanted_damage();
      verify_turn();
      busy = busy || !unverified_.empty() || verify_until_ != 0;
    }
  }
  if (stage_ == stage::rollback) busy = follow_rollback();
  if (stage_ == stage::rollback && rollback_settled_ && !scanning()) image_->set_looked(began);
  image_->deliver();
  publish_metrics();
  now = steady_clock::now();
  if (stage_ == stage::scanning && log_read_ && not_before_ == time_point{}) return due_ = now;
  if (metrics_.resets != resets_before) pace_.started_over(now);
  pace_.turned(now, busy, metrics_.frames - frames_before > many_frames);
  bool active = pace_.active(now) && stage_ != stage::waiting;
  if (pace_.saturated()) {
    watch_log(false);
  } else if (log_ && log_watch_ < 0) {
    watch_log(true);
    active = active || log_watch_ >= 0;  // once more: what was written before the watch made no event
  }
  return due_ = std::min(next_safety_, active ? now + pace_.interval() : next_safety_);
}

}  // namespace understudy::capture
