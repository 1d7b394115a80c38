#include "agent-failover/actors/command_events.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace understudy::actors {
namespace {

using namespace std::chrono_literals;
using api::verb;
using policy::event_kind;
using testing::HasSubstr;
using testing::Not;

constexpr std::chrono::system_clock::time_point now{std::chrono::seconds{1'000'000}};

api::command command(verb what) {
  api::command made;
  made.what = what;
  made.server = "p1";
  made.actor = "alice";
  made.reason = "maintenance";
  return made;
}

TEST(host_command_events, carries_who_why_and_how) {
  api::command c = command(verb::failover);
  c.force = true;
  const policy::event e = event_of(c, now);
  EXPECT_EQ(e.kind, event_kind::operator_failover);
  EXPECT_EQ(e.by, "alice");
  EXPECT_EQ(e.reason, "maintenance");
  EXPECT_TRUE(e.force);
  EXPECT_EQ(e.until_ms, 0);
}

TEST(host_command_events, every_verb_has_its_event) {
  const std::pair<verb, event_kind> all[] = {
      {verb::suspend, event_kind::operator_suspend},
      {verb::resume, event_kind::operator_resume},
      {verb::stop, event_kind::operator_stop},
      {verb::start, event_kind::operator_start},
      {verb::failover, event_kind::operator_failover},
      {verb::stop_failover, event_kind::operator_stop_failover},
      {verb::failback, event_kind::operator_failback},
      {verb::replicate_from_live, event_kind::operator_replicate_from_live},
      {verb::replicate_to_live, event_kind::operator_replicate_to_live},
      {verb::cancel, event_kind::operator_cancel}};
  v1::ServerSpec spec;
  spec.set_name("p1");
  for (const auto& [what, kind] : all) {
    EXPECT_EQ(event_of(command(what), now).kind, kind);
    EXPECT_THAT(effect_of(command(what), spec, {}), HasSubstr("p1"));
  }
}

TEST(host_command_events, a_suspension_ends_by_itself_a_stop_does_not) {
  EXPECT_EQ(event_of(command(verb::suspend), now).until_ms, 1'000'000'000 + 4 * 3'600'000);
  EXPECT_EQ(event_of(command(verb::stop), now).until_ms, 0);
  api::command c = command(verb::stop);
  c.period = 90s;
  EXPECT_EQ(event_of(c, now).until_ms, 1'000'090'000);
}

TEST(host_command_events, choices) {
  api::command c = command(verb::failback);
  EXPECT_EQ(event_of(c, now).choice, policy::diverged_choice::none);
  c.choice = v1::DIVERGED_CHOICE_DISCARD_PRIMARY;
  EXPECT_EQ(event_of(c, now).choice, policy::diverged_choice::discard_primary);
  c.choice = v1::DIVERGED_CHOICE_KEEP_PRIMARY;
  EXPECT_EQ(event_of(c, now).choice, policy::diverged_choice::keep_primary);
}

TEST(host_command_events, the_confirmation_says_what_will_happen) {
  v1::ServerSpec spec;
  spec.set_name("p1");
  spec.set_address("10.0.0.5");
  api::command c = command(verb::failover);
  EXPECT_THAT(effect_of(c, spec, {}), HasSubstr("nothing is lost"));
  EXPECT_THAT(effect_of(c, spec, {}), Not(HasSubstr("10.0.0")));
  spec.set_assume_ip(true);
  spec.add_service_addresses()->set_address("10.0.0.50");
  EXPECT_THAT(effect_of(c, spec, {}), HasSubstr("10.0.0.50"));
  c.force = true;
  EXPECT_THAT(effect_of(c, spec, {}), HasSubstr("two copies of the application run"));
  EXPECT_THAT(effect_of(command(verb::stop_failover), spec, {}), HasSubstr("10.0.0.50 is released"));
}

TEST(host_command_events, long_actions_are_operations) {
  EXPECT_EQ(operation_of(verb::failover), v1::OPERATION_KIND_FAILOVER);
  EXPECT_EQ(operation_of(verb::verify), v1::OPERATION_KIND_VERIFY);
  for (const verb what : {verb::suspend, verb::resume, verb::stop, verb::start, verb::cancel})
    EXPECT_EQ(operation_of(what), v1::OPERATION_KIND_UNSPECIFIED);
}

TEST(host_command_events, options_follow_the_configuration) {
  v1::ServerSpec spec;
  spec.set_auto_stop(true);
  spec.set_auto_stop_choice(v1::DIVERGED_CHOICE_KEEP_PRIMARY);
  spec.set_manual_only(true);
  spec.mutable_ping()->set_failover_count(7);
  v1::Settings settings;
  settings.mutable_ping()->set_failover_count(20);
  settings.mutable_ping()->set_warning_count(3);
  const policy::options made = options_of(spec, settings);
  EXPECT_EQ(made.failover_count, 7u);
  EXPECT_EQ(made.warning_count, 3u);
  EXPECT_EQ(made.failover_count_after_reboot, 30u);
  EXPECT_TRUE(made.auto_stop);
  EXPECT_TRUE(made.manual_only);
  EXPECT_FALSE(made.assume_ip);
  EXPECT_EQ(made.auto_stop_choice, policy::diverged_choice::keep_primary);
}

}  // namespace
}  // namespace understudy::actors
