#include <gtest/gtest.h>

#include "agent-failover/network/self_health.hpp"

namespace understudy::network {
namespace {

using namespace std::chrono_literals;

health_facts all_fail(std::size_t targets) {
  health_facts facts;
  facts.targets = targets;
  facts.failing = targets;
  return facts;
}

blind_reason reason(const health_facts& facts) {
  const auto verdict = judge(facts, {});
  EXPECT_EQ(verdict.healthy(), verdict.text.empty());
  return verdict.reason;
}

TEST(self_health, nothing_wrong) {
  EXPECT_EQ(reason({}), blind_reason::none);
  health_facts one_of_two = all_fail(2);
  one_of_two.failing = 1;
  one_of_two.gateway = gateway_state::silent;
  EXPECT_EQ(reason(one_of_two), blind_reason::none) << "somebody answers: the network works";
}

TEST(self_health, one_lone_primary_is_believed_unless_the_gateway_is_silent_too) {
  health_facts facts = all_fail(1);
  EXPECT_EQ(reason(facts), blind_reason::none);
  facts.gateway = gateway_state::answers;
  EXPECT_EQ(reason(facts), blind_reason::none);
  facts.gateway = gateway_state::silent;
  EXPECT_EQ(reason(facts), blind_reason::isolated);
  facts.witness_answers = true;
  EXPECT_EQ(reason(facts), blind_reason::none);
}

TEST(self_health, all_at_once_without_a_gateway_points_at_ourselves) {
  health_facts facts = all_fail(3);
  facts.onset_spread = 2s;
  EXPECT_EQ(reason(facts), blind_reason::isolated);
  facts.onset_spread = 60s;
  EXPECT_EQ(reason(facts), blind_reason::none) << "one after the other: they are believed";
  facts.onset_spread = 0s;
  facts.gateway = gateway_state::answers;
  EXPECT_EQ(reason(facts), blind_reason::none);
}

TEST(self_health, own_adapter_and_own_kernel) {
  health_facts facts = all_fail(1);
  facts.gateway = gateway_state::answers;
  facts.link = adapter_state::no_carrier;
  EXPECT_EQ(reason(facts), blind_reason::no_carrier);
  facts.link = adapter_state::down;
  EXPECT_EQ(reason(facts), blind_reason::no_adapter);
  health_facts refused = all_fail(2);
  refused.refused = 2;
  refused.onset_spread = 60s;
  EXPECT_EQ(reason(refused), blind_reason::cannot_send);
  refused.refused = 1;
  EXPECT_EQ(reason(refused), blind_reason::none);
}

TEST(self_health, after_a_freeze_nothing_is_believed_for_a_while) {
  health_facts facts;
  facts.since_lag = 100ms;
  EXPECT_EQ(reason(facts), blind_reason::frozen);
  facts.since_lag = 6s;
  EXPECT_EQ(reason(facts), blind_reason::none);
}

probe_sample sample(const std::string& target, probe_outcome outcome, monotonic_time at) {
  return {.target = target, .sent_at = at, .outcome = outcome};
}

TEST(self_health_inputs, samples_become_facts) {
  const monotonic_time t{1000s};
  self_health_inputs inputs;
  inputs.note(sample("gateway", probe_outcome::timeout, t), t);
  EXPECT_EQ(inputs.facts(t).gateway, gateway_state::unknown) << "one that never answered proves nothing";
  inputs.note(sample("gateway", probe_outcome::reply, t), t);
  inputs.note(sample("a", probe_outcome::timeout, t), t);
  inputs.note(sample("b", probe_outcome::send_failed, t + 3s), t + 3s);
  inputs.note(sample("a", probe_outcome::timeout, t + 9s), t + 9s);
  auto facts = inputs.facts(t + 9s);
  EXPECT_EQ(facts.gateway, gateway_state::answers);
  EXPECT_EQ(facts.targets, 2U);
  EXPECT_EQ(facts.failing, 2U);
  EXPECT_EQ(facts.refused, 1U);
  EXPECT_EQ(facts.onset_spread, 3s);
  EXPECT_TRUE(inputs.verdict(t + 9s).healthy());

  inputs.note(sample("gateway", probe_outcome::timeout, t + 10s), t + 10s);
  EXPECT_EQ(inputs.verdict(t + 10s).reason, blind_reason::isolated);
  inputs.note_witness(t + 10s);
  EXPECT_TRUE(inputs.verdict(t + 11s).healthy());
  EXPECT_EQ(inputs.verdict(t + 16s).reason, blind_reason::isolated) << "that was too long ago";
  inputs.forget("a");
  inputs.note(sample("b", probe_outcome::reply, t + 17s), t + 17s);
  EXPECT_TRUE(inputs.verdict(t + 17s).healthy());
}

TEST(self_health_inputs, lateness_is_neither_success_nor_failure) {
  const monotonic_time t{1000s};
  self_health_inputs inputs;
  inputs.note(sample("a", probe_outcome::timeout, t), t);
  inputs.note(sample("a", probe_outcome::host_was_late, t + 2s), t + 62s);
  EXPECT_EQ(inputs.facts(t + 62s).failing, 1U);
  EXPECT_EQ(inputs.verdict(t + 62s).reason, blind_reason::frozen);
  EXPECT_EQ(inputs.facts(t + 68s).since_lag, 6s);
  EXPECT_TRUE(inputs.verdict(t + 68s).healthy());
  inputs.note_lag(3s, t + 70s);
  EXPECT_EQ(inputs.verdict(t + 70s).reason, blind_reason::frozen);
}

}  // namespace
}  // namespace understudy::network
