#include "agent-failover/actors/agent_news.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace understudy::actors {
namespace {

using policy::event_kind;
using policy::phase;
using policy::right_owner;
using testing::ElementsAre;
using testing::IsEmpty;

struct host_agent_news : testing::Test {
  agent_news news;
  policy::primary_state machine;
  v1::HoldLeaseResponse agent;
  v1::ServerSpec spec;

  host_agent_news() {
    agent.set_boot_id("boot 1");
    agent.mutable_right()->set_owner(v1::RIGHT_OWNER_PRIMARY);
    agent.mutable_right()->set_epoch(1);
    application(v1::APPLICATION_STATE_RUNNING);
    spec.set_name("p1");
    spec.add_service_addresses()->set_address("10.0.0.50");
  }
  void application(v1::ApplicationState state) {
    agent.clear_applications();
    auto& one = *agent.add_applications();
    one.set_name("pbx");
    one.set_state(state);
  }
  void fenced(std::uint64_t epoch) {
    agent.mutable_right()->set_owner(v1::RIGHT_OWNER_FAILOVER_HOST);
    agent.mutable_right()->set_epoch(epoch);
    application(v1::APPLICATION_STATE_STOPPED);
  }
  void standing_in(std::uint64_t epoch) {
    machine.at = phase::standing_in;
    machine.owner = right_owner::failover_host;
    machine.epoch = epoch;
  }
  std::vector<event_kind> events() {
    std::vector<event_kind> kinds;
    for (const auto& e : news.events(agent, machine)) kinds.push_back(e.kind);
    return kinds;
  }
  std::optional<v1::HoldLeaseRequest> order() const { return news.order(agent, machine, spec, "standby"); }
};

TEST_F(host_agent_news, nothing_new) {
  EXPECT_THAT(events(), IsEmpty());
  EXPECT_THAT(events(), IsEmpty());
  EXPECT_FALSE(order());
}

TEST_F(host_agent_news, follows_an_agent_that_is_ahead_but_not_to_the_end_of_numbers) {
  agent.mutable_right()->set_epoch(7);
  EXPECT_THAT(events(), ElementsAre(event_kind::agent_epoch));
  agent.mutable_right()->set_epoch(~std::uint64_t{0});
  EXPECT_THAT(events(), IsEmpty()) << "one more would be 0, and older than everything for ever";
}

TEST_F(host_agent_news, a_reset_while_the_daemon_was_down_is_told) {
  news = agent_news("boot 0");
  EXPECT_THAT(events(), ElementsAre(event_kind::agent_reset));
  EXPECT_EQ(news.boot_id(), "boot 1");
  news = agent_news("boot 1");
  EXPECT_THAT(events(), IsEmpty());
}

TEST_F(host_agent_news, another_boot_id_is_a_reset_told_once) {
  events();
  agent.set_boot_id("boot 2");
  EXPECT_THAT(events(), ElementsAre(event_kind::agent_reset));
  EXPECT_THAT(events(), IsEmpty());
  news.connected();
  EXPECT_THAT(events(), IsEmpty()) << "a new connection is no reset";
}

TEST_F(host_agent_news, both_serving_is_a_conflict_told_once_until_it_ends) {
  standing_in(2);
  EXPECT_THAT(events(), ElementsAre(event_kind::conflict));
  EXPECT_THAT(events(), IsEmpty());
  application(v1::APPLICATION_STATE_STOPPED);
  EXPECT_THAT(events(), IsEmpty()) << "not back either: it is not fenced";
  application(v1::APPLICATION_STATE_STARTING);
  EXPECT_THAT(events(), ElementsAre(event_kind::conflict));
  news.connected();
  EXPECT_THAT(events(), ElementsAre(event_kind::conflict));
}

TEST_F(host_agent_news, a_primary_is_back_when_it_is_fenced_under_this_epoch_and_down) {
  standing_in(2);
  fenced(1);
  EXPECT_THAT(events(), IsEmpty()) << "fenced by an older takeover";
  fenced(2);
  application(v1::APPLICATION_STATE_STOPPING);
  EXPECT_THAT(events(), ElementsAre(event_kind::conflict)) << "still going down";
  fenced(2);
  EXPECT_THAT(events(), ElementsAre(event_kind::primary_back));
  EXPECT_THAT(events(), IsEmpty());
  machine.at = phase::failing_back;
  EXPECT_THAT(events(), IsEmpty());
  machine.at = phase::stood_down;
  EXPECT_THAT(events(), ElementsAre(event_kind::primary_back)) << "told again after a failback that failed";
}

TEST_F(host_agent_news, fences_an_agent_that_does_not_know) {
  standing_in(2);
  const auto request = order();
  ASSERT_TRUE(request && request->has_fence());
  EXPECT_EQ(request->fence().epoch(), 2u);
  EXPECT_EQ(request->fence().owner(), "standby");
  EXPECT_EQ(request->fence().service_addresses_size(), 1);
  fenced(2);
  EXPECT_FALSE(order());
  fenced(1);
  EXPECT_TRUE(order()->has_fence()) << "of an older takeover";
}

TEST_F(host_agent_news, grants_to_an_agent_that_does_not_know) {
  agent.mutable_right()->Clear();
  auto request = order();
  ASSERT_TRUE(request && request->has_grant());
  EXPECT_EQ(request->grant().epoch(), 1u);
  EXPECT_FALSE(request->grant().start_applications()) << "it was not fenced: left as it is";
  EXPECT_EQ(request->grant().service_addresses_size(), 1);

  fenced(2);
  machine.epoch = 3;
  request = order();
  ASSERT_TRUE(request && request->has_grant());
  EXPECT_EQ(request->grant().epoch(), 3u);
  EXPECT_TRUE(request->grant().start_applications());
}

TEST_F(host_agent_news, never_grants_backwards) {
  agent.mutable_right()->set_epoch(7);
  EXPECT_FALSE(order()) << "the agent's own epoch is newer than this record";
  EXPECT_THAT(events(), ElementsAre(event_kind::agent_epoch));
  fenced(7);
  EXPECT_THAT(events(), ElementsAre(event_kind::agent_epoch));
  EXPECT_FALSE(order()) << "another host, or this one before its record was lost, stands in";
  machine.epoch = 7;
  EXPECT_THAT(events(), IsEmpty());
  EXPECT_FALSE(order()) << "another host, or this one before its record was lost, stands in";
}

TEST_F(host_agent_news, grants_only_where_the_machine_may) {
  agent.mutable_right()->Clear();
  for (const phase at : {phase::claiming, phase::taking_over, phase::failing_back}) {
    machine.at = at;
    EXPECT_FALSE(order()) << policy::to_string(at);
  }
  for (const phase at : {phase::suspect, phase::blocked, phase::suspended, phase::stopped}) {
    machine.at = at;
    EXPECT_TRUE(order()) << policy::to_string(at);
  }
}

}  // namespace
}  // namespace understudy::actors
