#include "agent-primary/service/lease_streams.hpp"

#include <gtest/gtest.h>

namespace understudy::service {
namespace {

using application::application_state;
using lease::gate_phase;

application_state told(application_state state, gate_phase phase) {
  application::application_status status;
  status.state = state;
  return as_told(status, phase).state;
}

// A restore is permitted by the closed gate: a host that reads "stopped" before that is refused.
TEST(lease_streams, call_nothing_stopped_before_the_gate_is_closed) {
  EXPECT_EQ(told(application_state::stopped, gate_phase::closing), application_state::stopping);
  EXPECT_EQ(told(application_state::failed, gate_phase::closing), application_state::stopping);
  EXPECT_EQ(told(application_state::running, gate_phase::closing), application_state::running);
  EXPECT_EQ(told(application_state::stopped, gate_phase::closed), application_state::stopped);
  EXPECT_EQ(told(application_state::failed, gate_phase::open), application_state::failed);
}

}  // namespace
}  // namespace understudy::service
