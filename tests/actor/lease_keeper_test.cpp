#include "agent-primary/service/lease_keeper.hpp"

#include <gmock/gmock.h>
#include <caf/send.hpp>
#include <caf/stateful_actor.hpp>
#include <caf/typed_event_based_actor.hpp>

#include "tests/support/actor_fixture.hpp"

namespace understudy::service {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;
using testing::IsEmpty;

struct lease_keeper_test : test::actor_fixture {
  std::vector<std::string> done;
  lease::time_point clock{1000s};
  absl::Status disk;  // what storing gives
  bool flag = false;
  std::function<void(lease::gate_event)> host_answer;
  lease_keeper_actor keeper;

  ~lease_keeper_test() override {
    host_answer = nullptr;
    caf::anon_send_exit(keeper, caf::exit_reason::kill);
    keeper = lease_keeper_actor{};
    settle();
  }

  void boot(lease::booted event) {
    lease_surroundings around;
    around.store = [this](const lease::right_record& right) {
      done.push_back(std::string("store ") + lease::to_string(right.owner));
      return disk;
    };
    around.keep_lease_end = [](std::optional<lease::time_point>) {};
    around.ask_host = [this](const lease::right_record&, std::function<void(lease::gate_event)> answer) {
      EXPECT_FALSE(flag) << "units may not start before the answer";
      done.emplace_back("ask");
      host_answer = std::move(answer);
    };
    around.add_addresses = [this](const std::vector<lease::service_address>&) {
      done.emplace_back("add");
      return absl::OkStatus();
    };
    around.remove_addresses = [this](const std::vector<lease::service_address>&) {
      done.emplace_back("remove");
      return absl::OkStatus();
    };
    around.start_applications = [this] { done.emplace_back("start"); };
    around.stop_applications = [this](std::chrono::milliseconds grace, const std::string&) {
      done.push_back("stop " + std::to_string(grace.count()));
    };
    around.set_flag = [this](bool open) { flag = open; };
    around.publish = [](const lease_snapshot&) {};
    around.boot_decided = [] {};
    around.now = [this] { return clock; };
    around.boot_wait = 5s;
    event.now = clock;
    keeper = system.spawn(lease_keeper, event, around);
    settle();
  }
  void pass(std::chrono::milliseconds time) {
    clock += time;
    advance(time);
  }
  lease_snapshot feed(lease::gate_event event) {
    lease_snapshot answer;
    caf::anon_send(keeper, atom::feed_v,
                   gate_request{std::move(event), [&](const lease_snapshot& now) { answer = now; }});
    settle();
    return answer;
  }
  static lease::booted returned() {
    lease::booted event;
    event.right.owner = lease::right_owner::primary;
    event.right.epoch = 3;
    event.host_known = true;
    return event;
  }
  std::vector<std::string> take() { return std::exchange(done, {}); }
};

TEST_F(lease_keeper_test, asks_every_second_and_decides_alone_after_its_wait) {
  boot(returned());
  for (int second = 0; second < 4; ++second) pass(1s);
  EXPECT_THAT(take(), ElementsAre("ask", "ask", "ask", "ask", "ask"));
  pass(1s);
  EXPECT_THAT(take(), ElementsAre("start"));
  pass(10s);
  EXPECT_THAT(take(), IsEmpty());
}

TEST_F(lease_keeper_test, an_answer_ends_the_asking) {
  boot(returned());
  lease::fenced event;
  event.epoch = 4;
  event.owner_name = "standby";
  host_answer(event);
  settle();
  EXPECT_THAT(take(), ElementsAre("ask", "store failover_host"));
  pass(60s);
  for (const std::string& what : take()) EXPECT_EQ(what, "ask") << "nothing may start";
}

TEST_F(lease_keeper_test, a_flag_that_a_power_cut_left_is_gone_before_it_asks) {
  flag = true;
  boot(returned());
  EXPECT_FALSE(flag);
  EXPECT_THAT(take(), ElementsAre("ask"));
  lease::granted grant;
  grant.epoch = 3;
  grant.now = clock;
  disk = absl::ResourceExhaustedError("no space left");
  grant.owner_name = "p1";  // so that there is something to record
  host_answer(grant);
  settle();
  EXPECT_FALSE(flag) << "not on record, not open";
  disk = absl::OkStatus();
  host_answer(grant);
  settle();
  EXPECT_TRUE(flag);
}

TEST_F(lease_keeper_test, an_older_fence_is_refused_with_the_epoch_that_it_lost_to) {
  boot(lease::booted{});
  lease::granted grant;
  grant.epoch = 7;
  grant.now = clock;
  feed(grant);
  lease::fenced fence;
  fence.epoch = 5;
  fence.owner_name = "standby";
  const lease_snapshot refused = feed(fence);
  EXPECT_THAT(refused.refusal, testing::HasSubstr("older than 7"));
  EXPECT_EQ(refused.right.epoch, 7u);
  EXPECT_EQ(refused.right.owner, lease::right_owner::primary);
  fence.epoch = 8;
  EXPECT_EQ(feed(fence).refusal, "");
  take();
  const lease_snapshot again = feed(fence);
  EXPECT_EQ(again.refusal, "");
  EXPECT_EQ(again.right.epoch, 8u);
  EXPECT_THAT(take(), IsEmpty()) << "recorded and carried out before";
}

TEST_F(lease_keeper_test, addresses_go_when_the_applications_are_down_and_questions_are_answered_before) {
  boot(lease::booted{});
  lease::granted grant;
  grant.epoch = 1;
  grant.now = clock;
  grant.addresses = {{"10.0.0.5", 24, "eth0"}};
  feed(grant);
  take();
  lease::fenced fence;
  fence.epoch = 2;
  EXPECT_EQ(feed(fence).refusal, "");
  EXPECT_THAT(take(), ElementsAre("store failover_host", "stop 0"));
  EXPECT_EQ(feed(lease::host_met{}).phase, lease::gate_phase::closing);
  EXPECT_THAT(take(), IsEmpty());
  std::vector<application::application_status> applications(1);
  applications[0].state = application::application_state::stopping;
  caf::anon_send(keeper, atom::change_v, applications);
  settle();
  EXPECT_THAT(take(), IsEmpty());
  applications[0].state = application::application_state::stopped;
  caf::anon_send(keeper, atom::change_v, applications);
  settle();
  EXPECT_THAT(take(), ElementsAre("remove"));
  EXPECT_EQ(feed(lease::host_met{}).phase, lease::gate_phase::closed);
}

TEST_F(lease_keeper_test, a_lease_runs_out_by_the_clock) {
  boot(lease::booted{});
  lease::granted grant;
  grant.epoch = 1;
  grant.lease = 20s;
  grant.asked_at = clock;
  grant.now = clock;
  EXPECT_EQ(feed(grant).refusal, "");
  EXPECT_THAT(take(), ElementsAre("start", "store primary"));
  pass(15s);
  EXPECT_THAT(take(), ElementsAre("stop 4000"));
  pass(4s);
  EXPECT_THAT(take(), ElementsAre("stop 1")) << "the kill";
}

TEST_F(lease_keeper_test, a_grant_that_cannot_be_recorded_starts_nothing) {
  lease::booted event = returned();
  event.right.owner = lease::right_owner::failover_host;
  boot(event);
  take();
  disk = absl::ResourceExhaustedError("no space left");
  lease::granted grant;
  grant.epoch = 4;
  grant.now = clock;
  grant.start_applications = true;
  EXPECT_THAT(feed(grant).refusal, testing::HasSubstr("no space left"));
  EXPECT_THAT(take(), ElementsAre("store primary"));
  EXPECT_NE(feed(lease::start_asked{}).refusal, "");
  disk = absl::OkStatus();
  EXPECT_EQ(feed(grant).refusal, "");
  EXPECT_THAT(take(), ElementsAre("store primary", "start"));
}

TEST_F(lease_keeper_test, a_fence_that_cannot_be_recorded_stops_them_all_the_same) {
  boot(lease::booted{});
  take();
  disk = absl::ResourceExhaustedError("no space left");
  lease::fenced fence;
  fence.epoch = 1;
  EXPECT_THAT(feed(fence).refusal, testing::HasSubstr("no space left"));
  EXPECT_THAT(take(), ElementsAre("store failover_host", "stop 0"));
}

}  // namespace
}  // namespace understudy::service
