#include "agent-failover/ctl/interrupt.hpp"

#include <csignal>

namespace understudy::ctl {

namespace {

volatile std::sig_atomic_t came = 0;

void note(int /*signal*/) {
  came = 1;
}

}  // namespace

void catch_interrupts() {
  struct sigaction action {};
  action.sa_handler = note;
  // No SA_RESTART: a prompt that waits for input must end. RESETHAND: the second one always works.
  action.sa_flags = SA_RESETHAND;
  ::sigaction(SIGINT, &action, nullptr);
  ::sigaction(SIGTERM, &action, nullptr);
}

bool interrupted() {
  return came != 0;
}

}  // namespace understudy::ctl
