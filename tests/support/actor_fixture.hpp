#pragma once

// Actors on CAF's testing scheduler: nothing runs unless settle() or advance() is called, time moves by hand,
// and a test is deterministic. (caf/test/dsl.hpp does not compile beside GoogleTest.)

#include <gtest/gtest.h>
#include <caf/abstract_actor.hpp>
#include <caf/actor_cast.hpp>
#include <caf/actor_system.hpp>
#include <caf/actor_system_config.hpp>
#include <caf/atom.hpp>
#include <caf/scheduler/test_coordinator.hpp>
#include <caf/scoped_actor.hpp>
#include <caf/stateful_actor.hpp>

#include <chrono>

namespace understudy::test {

class actor_fixture : public testing::Test {
 protected:
  struct config : caf::actor_system_config {
    config() { set("scheduler.policy", caf::atom("testing")); }
  };

  actor_fixture() : scheduler(dynamic_cast<caf::scheduler::test_coordinator&>(system.scheduler())) {
    scheduler.clock().current_time += std::chrono::hours{1};  // a time of zero means "none" to CAF
  }

  // Runs until no actor has anything to do.
  void settle() {
    while (scheduler.try_run_once()) {
    }
  }
  // Moves the clock, triggers what became due, and settles.
  void advance(std::chrono::nanoseconds by) {
    settle();
    scheduler.clock().advance_time(by);
    settle();
  }

  // The state of an actor spawned as stateful_actor<State, typename Handle::base>.
  template <class State, class Handle>
  static State& state_of(const Handle& handle) {
    return dynamic_cast<caf::stateful_actor<State, typename Handle::base>&>(
               *caf::actor_cast<caf::abstract_actor*>(handle))
        .state;
  }

  config system_config;
  caf::actor_system system{system_config};
  caf::scheduler::test_coordinator& scheduler;
  caf::scoped_actor self{system};
};

}  // namespace understudy::test
