#include "agent-failover/actors/operation_tracker.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "agent-failover/api/board.hpp"

namespace understudy::actors {
namespace {

using policy::phase;
using policy::step_id;
using testing::HasSubstr;

struct host_operations : testing::Test {
  api::board board;
  operation_tracker operations{board, "p1"};
  policy::primary_state machine;

  void go(phase at, step_id doing = step_id::none) {
    policy::primary_state after = machine;
    after.at = at;
    after.doing = doing;
    operations.follow(machine, after);
    machine = after;
  }
  v1::Operation shown(const std::string& name) const { return board.operation(name).value(); }
};

TEST_F(host_operations, a_takeover_from_claim_to_stand_in) {
  const std::string name = operations.begin(v1::OPERATION_KIND_FAILOVER, "alice");
  EXPECT_EQ(shown(name).actor(), "alice");
  EXPECT_EQ(shown(name).server(), "p1");
  go(phase::claiming);
  go(phase::taking_over, step_id::fence);
  EXPECT_EQ(shown(name).phase(), "TakingOver(fence)");
  EXPECT_FALSE(shown(name).done());
  go(phase::standing_in);
  EXPECT_TRUE(shown(name).done());
  EXPECT_FALSE(shown(name).has_error());
  EXPECT_THAT(shown(name).result(), HasSubstr("the stand-in serves"));
  EXPECT_FALSE(operations.running());
}

TEST_F(host_operations, one_that_nobody_asked_for_is_followed_as_well) {
  go(phase::claiming);
  ASSERT_TRUE(operations.running());
  const std::string name = operations.name();
  EXPECT_EQ(shown(name).actor(), "automatic");
  machine.reason = "there is no copy";
  go(phase::blocked);
  EXPECT_TRUE(shown(name).done());
  EXPECT_EQ(shown(name).error().message(), "there is no copy");
}

TEST_F(host_operations, a_failback_that_succeeds) {
  go(phase::standing_in);
  const std::string name = operations.begin(v1::OPERATION_KIND_FAILBACK, "alice");
  go(phase::failing_back, step_id::reverse_heal);
  operations.progress("x", 10, 20);
  EXPECT_EQ(shown(name).bytes_total(), 20u);
  go(phase::failing_back, step_id::start_primary);
  go(phase::monitoring);
  EXPECT_THAT(shown(name).result(), HasSubstr("the primary serves again"));
}

TEST_F(host_operations, a_failback_that_is_given_up_ends_whichever_way_it_goes) {
  for (const phase to :
       {phase::standing_in, phase::stood_down, phase::conflict, phase::taking_over, phase::blocked}) {
    const std::string name = operations.begin(v1::OPERATION_KIND_FAILBACK, "alice");
    go(phase::failing_back, step_id::drain);
    go(to, to == phase::taking_over ? step_id::fence : step_id::none);
    EXPECT_TRUE(shown(name).done()) << policy::to_string(to);
    EXPECT_TRUE(shown(name).has_error()) << policy::to_string(to);
  }
}

TEST_F(host_operations, a_primary_that_dies_again_during_its_failback_begins_another_operation) {
  const std::string failback = operations.begin(v1::OPERATION_KIND_FAILBACK, "alice");
  go(phase::failing_back, step_id::start_primary);
  go(phase::claiming);
  EXPECT_TRUE(shown(failback).has_error());
  ASSERT_TRUE(operations.running());
  const std::string takeover = operations.name();
  EXPECT_EQ(operations.kind(), v1::OPERATION_KIND_FAILOVER);
  go(phase::taking_over, step_id::fence);
  go(phase::standing_in);
  EXPECT_FALSE(shown(takeover).has_error());
}

TEST_F(host_operations, stopping_the_stand_in) {
  go(phase::standing_in);
  const std::string name = operations.begin(v1::OPERATION_KIND_STOP_FAILOVER, "alice");
  go(phase::standing_down, step_id::stop_application);
  EXPECT_FALSE(shown(name).done());
  go(phase::stood_down);
  EXPECT_TRUE(shown(name).done());
  EXPECT_FALSE(shown(name).has_error());
}

TEST_F(host_operations, one_overtakes_another) {
  const std::string first = operations.begin(v1::OPERATION_KIND_VERIFY, "alice");
  const std::string second = operations.begin(v1::OPERATION_KIND_FAILOVER, "bob");
  EXPECT_NE(first, second);
  EXPECT_THAT(shown(first).error().message(), HasSubstr("overtaken"));
  EXPECT_FALSE(shown(second).done());
}

TEST_F(host_operations, names_are_unique_when_primaries_fail_together) {
  std::set<std::string> names;
  for (int n = 0; n < 100; ++n) {
    operation_tracker other(board, std::to_string(n));
    names.insert(other.begin(v1::OPERATION_KIND_FAILOVER, "automatic"));
  }
  EXPECT_EQ(names.size(), 100u);
}

TEST_F(host_operations, nothing_ends_or_moves_without_an_operation) {
  operations.progress("x", 1, 2);
  operations.succeed("x");
  operations.fail(1, "x");
  go(phase::suspended);
  EXPECT_TRUE(board.operations().empty());
}

}  // namespace
}  // namespace understudy::actors
