#include "agent-primary/capture/poll_pace.hpp"

#include <algorithm>

namespace understudy::capture {

void poll_pace::wake(time_point now) {
  active_until_ = now + active_for_;
  interval_ = shortest_;
}

void poll_pace::started_over(time_point now) {
  end_is_near_until_ = {};
  life_ = std::min(life_ + life_ / 16, now - started_over_);
  started_over_ = now;
}

void poll_pace::turned(time_point now, bool news, bool many) {
  if (news) active_until_ = now + active_for_;
  const bool end_is_near = now < end_is_near_until_;
  if (news) {
    busy_turns_ = std::min(busy_turns_ + 1, saturated_turns);
  } else if (!end_is_near) {  // else the application is busy, though not committing
    busy_turns_ = std::max(busy_turns_ - 1, 0);
  }
  if (busy_turns_ == saturated_turns) saturated_ = true;
  if (busy_turns_ < saturated_turns / 2) saturated_ = false;
  const duration rarely = std::clamp(life_ / polls_per_life, shortest_,
                                     shortest_ * (many ? saturated_factor / 3 : saturated_factor));
  const duration most = end_is_near ? 2 * shortest_ : saturated_ ? rarely : longest_;
  interval_ = std::min(!news ? interval_ * 2 : saturated_ ? rarely : shortest_, most);
}

}  // namespace understudy::capture
