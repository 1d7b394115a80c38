#pragma once

// How often a database is looked at. Pure: time is a parameter.
//
// After a sign of life the wal-index is polled at short intervals that double while nothing comes, and then
// left to inotify. While news never end, polls are rare (each one takes a processor from somebody, and news
// that come together travel together), though several in the life of a log, and the log itself makes no
// events (each write would make one, in the application's own time). What must not be rare is the look at a
// log that is about to be started over: before that happens, all of it has to be written back into the
// database file, whose events are waited for always.

#include <chrono>

namespace understudy::capture {

class poll_pace {
 public:
  using time_point = std::chrono::steady_clock::time_point;
  using duration = std::chrono::steady_clock::duration;

  poll_pace(duration shortest, duration longest, duration active_for)
      : shortest_(shortest), longest_(longest), active_for_(active_for), interval_(shortest) {}

  // A sign of life: the next look is due at once.
  void wake(time_point now);
  // Somebody writes the database file: the log's end is near.
  void written_back(time_point now) { end_is_near_until_ = now + end_is_near_for; }
  // The log was started over, and all of the old one was read.
  void started_over(time_point now);
  // No event will tell what is waited for.
  void stay_active(time_point now) { active_until_ = now + active_for_; }
  // After a turn. `many`: it had so much to read that the log might soon end unread.
  void turned(time_point now, bool news, bool many);

  bool active(time_point now) const { return now < active_until_; }
  duration interval() const { return interval_; }
  // News more often than not, for a while by now: the log need not be watched.
  bool saturated() const { return saturated_; }
  // Events may wait for the next look, which is soon and lets the kernel merge them.
  bool events_may_wait(time_point now) const {
    return busy_turns_ > 0 && interval_ <= 4 * shortest_ && (!saturated_ || now < end_is_near_until_);
  }

 private:
  static constexpr int saturated_turns = 16;  // with news, more than without
  // Of the shortest poll while saturated: 500 us, a twentieth of a usual log's life at 40,000 commits a
  // second.
  static constexpr int saturated_factor = 10;
  static constexpr int polls_per_life = 8;
  // From the last write of a checkpoint to the log's end: an fdatasync, and longer than this only where
  // nobody commits meanwhile.
  static constexpr std::chrono::milliseconds end_is_near_for{2};

  const duration shortest_;
  const duration longest_;
  const duration active_for_;
  duration interval_;
  time_point active_until_{};
  time_point end_is_near_until_{};
  time_point started_over_{};
  duration life_ = std::chrono::seconds(1);  // the shortest of late
  int busy_turns_ = 0;
  bool saturated_ = false;
};

}  // namespace understudy::capture
