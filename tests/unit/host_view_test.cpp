#include "agent-failover/actors/server_view.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace understudy::actors {
namespace {

using namespace std::chrono_literals;
using testing::Contains;
using testing::HasSubstr;
using testing::IsEmpty;

TEST(host_versions, the_same_minor_works_without_a_word) {
  for (const char* agent : {"0.3.0", "0.3.9", "0.3", "0.3-rc1", "0.3+git"}) {
    const version_verdict verdict = compare_versions("0.3.0", agent);
    EXPECT_FALSE(verdict.refused) << agent;
    EXPECT_EQ(verdict.text, "") << agent;
  }
}

TEST(host_versions, one_minor_apart_works_with_a_warning) {
  for (const char* agent : {"0.2.0", "0.4.7"}) {
    const version_verdict verdict = compare_versions("0.3.0", agent);
    EXPECT_FALSE(verdict.refused) << agent;
    EXPECT_THAT(verdict.text, HasSubstr(agent));
  }
}

TEST(host_versions, more_is_refused_with_the_reason) {
  for (const char* agent : {"0.1.0", "0.5.0", "1.3.0", "0.30.0"}) {
    const version_verdict verdict = compare_versions("0.3.0", agent);
    EXPECT_TRUE(verdict.refused) << agent;
    EXPECT_THAT(verdict.text, HasSubstr("upgrade the older one")) << agent;
  }
}

TEST(host_versions, garbage_is_refused) {
  for (const char* agent : {"garbage", "3", "0.", ".3", "0.x", "-0.3", "0.-3", " 0.3", "0.3garbage",
                            "99999999999999999999.3", "0.99999999999999999999"}) {
    EXPECT_TRUE(compare_versions("0.3.0", agent).refused) << agent;
  }
}

struct host_view : testing::Test {
  v1::ServerSpec spec;
  policy::primary_state machine;
  host_view() {
    spec.set_name("p1");
    spec.set_address("10.0.0.5");
    machine.replication = {policy::copy_phase::streaming, true};
  }
  view_inputs inputs() const {
    return {.spec = spec, .machine = machine, .since = std::chrono::system_clock::time_point(1000s)};
  }
};

TEST_F(host_view, a_server_that_is_well) {
  view_inputs in = inputs();
  in.agent_connected = true;
  in.round_trip = 300us;
  const v1::ServerState shown = view(in);
  EXPECT_EQ(shown.status(), v1::SERVER_STATUS_OK);
  EXPECT_EQ(shown.state(), "Monitoring");
  EXPECT_EQ(shown.reason(), "");
  EXPECT_EQ(shown.since().seconds(), 1000);
  EXPECT_EQ(shown.round_trip().nanos(), 300000);
  EXPECT_TRUE(shown.is_protected());
  EXPECT_THAT(shown.warnings(), IsEmpty());
}

TEST_F(host_view, says_when_it_is_not_protected) {
  machine.replication = {};
  const v1::ServerState shown = view(inputs());
  EXPECT_FALSE(shown.is_protected());
  EXPECT_THAT(shown.warnings(), Contains(HasSubstr("replicate from-live p1")));
}

TEST_F(host_view, an_application_that_died_on_a_primary_that_answers_is_suspect) {
  v1::HoldLeaseResponse agent;
  auto& application = *agent.add_applications();
  application.set_name("pbx");
  application.set_state(v1::APPLICATION_STATE_FAILED);
  application.set_last_event("exited with 1");
  view_inputs in = inputs();
  in.agent = &agent;
  in.agent_connected = true;
  EXPECT_EQ(view(in).status(), v1::SERVER_STATUS_SUSPECT);
  EXPECT_THAT(view(in).reason(), HasSubstr("pbx on the primary: exited with 1"));
  in.agent_connected = false;  // what it said last is no news any more
  in.agent_trouble = "went silent";
  EXPECT_EQ(view(in).status(), v1::SERVER_STATUS_OK);
  EXPECT_THAT(view(in).warnings(), Contains(HasSubstr("went silent")));
}

TEST_F(host_view, what_is_not_ok_has_its_reason) {
  machine.missed = 3;
  for (int at = 0; at < policy::phase_count; ++at) {
    machine.at = static_cast<policy::phase>(at);
    const v1::ServerState shown = view(inputs());
    EXPECT_TRUE(shown.status() == v1::SERVER_STATUS_OK || shown.reason() != "") << shown.state();
    EXPECT_NE(shown.next(), "") << shown.state();
    EXPECT_NE(shown.status(), v1::SERVER_STATUS_UNSPECIFIED) << shown.state();
  }
}

}  // namespace
}  // namespace understudy::actors
