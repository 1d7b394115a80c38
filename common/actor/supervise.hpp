#pragma once

// Link and trap: a child's death is an event for its parent, and a parent's death takes its children along.
// (`monitored` alone leaves children alive when the parent dies; `linked` alone kills the parent with the
// child.)

#include <caf/actor_addr.hpp>
#include <caf/error.hpp>
#include <caf/exit_reason.hpp>
#include <caf/sec.hpp>
#include <caf/system_messages.hpp>

#include <chrono>
#include <functional>
#include <string>
#include <utility>

namespace caf {
class actor_system;
}

namespace understudy::actors {

// Call once in the parent's set-up; spawn the children with `self->template spawn<caf::linked>(...)`.
// `on_child_exit(address, reason)` is called for every linked actor that ends, normally or not, except for
// the exit that ends the parent itself: a shutdown sent by somebody who is not a child.
template <class Self>
void trap_child_exits(Self* self, std::function<bool(const caf::actor_addr&)> is_child,
                      std::function<void(const caf::actor_addr&, const caf::error&)> on_child_exit) {
  self->set_exit_handler(
      [self, is_child = std::move(is_child), on_exit = std::move(on_child_exit)](caf::exit_msg& message) {
        if (is_child(message.source)) {
          on_exit(message.source, message.reason);
        } else {
          self->quit(std::move(message.reason));
        }
      });
}

// Bounds how often something is restarted: at most `most` times within `window`, with a growing pause
// between. Time is a parameter; the caller does the waiting.
class restart_budget {
 public:
  restart_budget(unsigned most, std::chrono::milliseconds window, std::chrono::milliseconds first_pause,
                 std::chrono::milliseconds longest_pause)
      : most_(most), window_(window), first_pause_(first_pause), longest_pause_(longest_pause) {}

  // Something ended at `now`: the pause before its next start. Negative: the budget is spent, give up.
  std::chrono::milliseconds after_end(std::chrono::steady_clock::time_point now);

 private:
  unsigned most_;
  std::chrono::milliseconds window_;
  std::chrono::milliseconds first_pause_;
  std::chrono::milliseconds longest_pause_;
  unsigned used_ = 0;
  std::chrono::steady_clock::time_point window_begin_{};
};

// For people: "system_error(runtime_error)".
std::string text_of(const caf::error& error);

}  // namespace understudy::actors
