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

// Damage is said once, and again when it grows.
TEST_F(host_agent_news, tells_of_damage_when_it_grows) {
  EXPECT_THAT(news.damage(agent), IsEmpty());
  auto& damaged = *agent.add_damaged();
  damaged.set_catalog("main");
  damaged.set_pages(1);
  EXPECT_THAT(news.damage(agent), ElementsAre(testing::HasSubstr("main: 1 page of the database file")));
  EXPECT_THAT(news.damage(agent), IsEmpty());
  damaged.set_pages(3);
  EXPECT_THAT(news.damage(agent), ElementsAre(testing::HasSubstr("3 pages")));
  agent.clear_damaged();
  EXPECT_THAT(news.damage(agent), IsEmpty());
}

// A database that the agent found by itself is added, once; one that its configuration names is people's to
// add.
TEST_F(host_agent_news, adopts_what_the_agent_found_later) {
  agent.set_databases_revision(7);
  EXPECT_TRUE(news.databases_changed(agent));
  EXPECT_FALSE(news.databases_changed(agent));
  auto& known = *spec.add_databases();
  known.set_catalog("main");
  known.set_path("/var/main.db");
  v1::DescribeResponse described;
  *described.add_databases()->mutable_catalog() = "main";
  auto& found = *described.add_databases();
  found.set_catalog("tenant-1");
  found.set_path("/var/1.db");
  found.set_found(true);
  described.add_databases()->set_catalog("named, and left out by an operator");
  EXPECT_TRUE(news.found(spec, {}).empty()) << "before it is described";
  news.described(described);
  for (const char* pattern : {"*", "tenant-*", "*-1", "t*-*1", "tenant-1"}) {
    spec.clear_ignore_found_databases();
    spec.add_ignore_found_databases("other");
    spec.add_ignore_found_databases(pattern);
    EXPECT_TRUE(news.found(spec, {}).empty()) << pattern;
  }
  spec.clear_ignore_found_databases();
  spec.add_ignore_found_databases("tenant");
  const auto adopted = news.found(spec, {}).add;
  ASSERT_EQ(adopted.size(), 1u);
  EXPECT_EQ(adopted[0].catalog(), "tenant-1");
  EXPECT_EQ(adopted[0].path(), "/var/1.db");
  EXPECT_TRUE(adopted[0].found());
  *spec.add_databases() = adopted[0];
  EXPECT_TRUE(news.found(spec, {}).empty());
}

// One that went before it was copied leaves nothing; of another one the copy is what is left.
TEST_F(host_agent_news, drops_what_is_gone_and_was_never_copied) {
  for (const char* name : {"named", "copied", "fleeting", "there"}) {
    auto& database = *spec.add_databases();
    database.set_catalog(name);
    database.set_path(std::string("/var/") + name);
    database.set_found(std::string(name) != "named");
  }
  v1::DescribeResponse described;
  auto& there = *described.add_databases();
  there.set_catalog("there");
  there.set_path("/var/there");
  there.set_found(true);
  EXPECT_TRUE(news.found(spec, {"named", "fleeting", "there"}).empty()) << "nothing was described";
  news.described(described);
  EXPECT_THAT(news.found(spec, {"named", "fleeting", "there"}).drop, ElementsAre("fleeting"));
}

// A peer may describe what no specification can hold, and more than a server can have.
TEST_F(host_agent_news, leaves_out_what_is_too_much_or_has_no_proper_name) {
  v1::DescribeResponse described;
  const auto add = [&](const std::string& catalog, const std::string& path) {
    auto& found = *described.add_databases();
    found.set_catalog(catalog);
    found.set_path(path);
    found.set_found(true);
  };
  add("../etc", "/var/a.db");
  add("up", "/var/../etc/passwd");
  add("twice", "/var/b.db");
  add("twice", "/var/c.db");
  described.add_not_protected("as the agent says");
  for (int i = 0; i < 1005; ++i) add("t" + std::to_string(i), "/var/t" + std::to_string(i) + ".db");
  news.described(described);
  const found_databases found = news.found(spec, {});
  EXPECT_EQ(found.add.size(), 1000u);
  EXPECT_EQ(found.add[0].path(), "/var/b.db");
  EXPECT_THAT(found.left_out, testing::AllOf(testing::StartsWith("as the agent says; "),
                                             testing::HasSubstr("/var/a.db: must be a plain name"),
                                             testing::HasSubstr("/var/../etc/passwd: "),
                                             testing::EndsWith("left out is /var/t999.db")));
  for (const auto& one : found.add) *spec.add_databases() = one;
  EXPECT_TRUE(news.found(spec, {}).add.empty()) << "the limit is the server's, not the look's";
  // Said once, also by the next supervisor of the server.
  const auto told = std::make_shared<told_news>();
  agent_news first("", told);
  EXPECT_TRUE(first.is_new(found.left_out));
  EXPECT_FALSE(first.is_new(found.left_out));
  agent_news second("", told);
  EXPECT_FALSE(second.is_new(found.left_out));
  EXPECT_FALSE(second.is_new(""));
  EXPECT_TRUE(second.is_new(found.left_out));
}

}  // namespace
}  // namespace understudy::actors
