// What is stored, shown and printed of a state.

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <set>
#include <sstream>

#include "agent-failover/policy/codec.hpp"
#include "agent-failover/policy/status.hpp"
#include "common/status/status_text.hpp"
#include "tests/unit/policy_testing.hpp"

namespace understudy::policy {
namespace {

primary_state full() {
  driven_primary p;
  p.state.configured = {3,    2,    9,    18,   protection::guarded,
                        true, true, true, true, diverged_choice::keep_primary};
  p.state.at = phase::failing_back;
  p.state.doing = step_id::set_aside;
  p.state.missed = 4'000'000'000u;
  p.state.epoch = 18'000'000'000'000'000'000u;
  p.state.until_ms = -5;
  p.state.why_acting = cause::planned;
  p.state.blocked = block::step_failed;
  p.state.told = p.state.flapping = p.state.slot_held = p.state.start_owed = true;
  p.state.reason = "50 % = \"half\"\nof it \x01\x7f";
  p.state.by = "Änne B";
  p.state.why = "";
  return p.state;
}

TEST(policy_codec, round_trip) {
  for (const primary_state& state : {primary_state{}, driven_primary().taken_over().state, full()}) {
    const auto back = decode(encode(state));
    ASSERT_TRUE(back.ok()) << message_of(back.status());
    EXPECT_EQ(*back, state) << encode(state);
  }
}

TEST(policy_codec, refuses_whatever_it_would_not_have_written) {
  const std::string good = encode(full());
  for (std::size_t i = 0; i < good.size(); ++i) {
    EXPECT_FALSE(decode(good.substr(0, i)).ok()) << "cut at " << i;
    for (const char other : {'\0', ' ', '=', '9', 'x', '%', '-'}) {
      std::string bad = good;
      bad[i] = other;
      const auto read = decode(bad);
      if (read.ok()) {
        EXPECT_EQ(encode(*read), bad) << "byte " << i;
      }
    }
  }
  EXPECT_FALSE(decode("").ok());
  EXPECT_FALSE(decode(good + " ").ok());
  EXPECT_FALSE(decode(good + " new=1").ok());
  EXPECT_FALSE(decode("2" + good.substr(1)).ok());
  const auto no_phase = decode("1 phase=14" + good.substr(good.find(" step")));
  EXPECT_EQ(message_of(no_phase.status()), "state record: phase is out of range");
}

TEST(policy_status, follows_from_the_phase) {
  const auto shown = [](phase at) {
    driven_primary p;
    p.state.at = at;
    return status_of(p.state);
  };
  EXPECT_EQ(shown(phase::monitoring), status::ok);
  for (const phase each : {phase::suspect, phase::warned, phase::blind})
    EXPECT_EQ(shown(each), status::suspect);
  EXPECT_EQ(shown(phase::suspended), status::suspended);
  EXPECT_EQ(shown(phase::stopped), status::stopped);
  for (const phase each : {phase::claiming, phase::blocked, phase::taking_over, phase::standing_in,
                           phase::conflict, phase::standing_down, phase::stood_down}) {
    EXPECT_EQ(shown(each), status::failure);
  }
  EXPECT_EQ(shown(phase::failing_back), status::replicating);
}

TEST(policy_status, a_bulk_copy_shows_only_while_pings_succeed) {
  driven_primary p;
  p.on(event_kind::copy_started);
  EXPECT_EQ(status_of(p.state), status::replicating);
  EXPECT_EQ(status_of(p.miss(1).state), status::suspect);
  driven_primary doubtful;
  EXPECT_EQ(status_of(doubtful.state, true), status::suspect);
}

TEST(policy_status, explains_what_why_since_and_what_comes_next) {
  driven_primary p;
  EXPECT_EQ(explain(p.state, "").why, "");
  p.miss(4);
  const explanation four = explain(p.state, "12:00:00");
  EXPECT_EQ(four.why, "4 consecutive pings missed");
  EXPECT_EQ(four.next, "takeover after 11 more missed pings");
  EXPECT_NE(four.text().find("Since: 12:00:00"), std::string::npos);
  for (int i = 0; i < phase_count; ++i) {
    p.state.at = static_cast<phase>(i);
    const explanation each = explain(p.state, "now");
    EXPECT_FALSE(each.what.empty()) << i;
    EXPECT_FALSE(each.next.empty()) << i;
    if (p.state.at != phase::monitoring) {
      EXPECT_FALSE(each.why.empty()) << i;
    }
  }
  driven_primary unprotected;
  unprotected.state.replication = {};
  EXPECT_EQ(explain(unprotected.state, "").why, "there is no verified copy yet");
}

TEST(policy_table, every_row_has_its_comment_and_can_fire) {
  std::set<std::string> seen;
  for (const row& each : table()) {
    EXPECT_NE(each.from, 0u);
    EXPECT_GT(std::string(each.comment).size(), 4u);
    // A row without guards hides every later row of the same place and event.
    for (const row& later : table()) {
      if (&later <= &each || !each.guards.empty() || later.when != each.when) continue;
      const bool same_phases = (later.from & ~each.from) == 0;
      const bool same_steps = each.steps == 0 || (later.steps != 0 && (later.steps & ~each.steps) == 0);
      EXPECT_FALSE(same_phases && same_steps) << "unreachable: " << later.comment;
    }
  }
}

TEST(policy_table, every_guard_effect_and_event_is_used) {
  std::set<int> guards, events;
  for (const row& each : table()) {
    events.insert(static_cast<int>(each.when));
    for (const guard which : each.guards) guards.insert(static_cast<int>(which));
  }
  EXPECT_EQ(guards.size(), static_cast<std::size_t>(guard_count - 1));
  EXPECT_EQ(events.size(), static_cast<std::size_t>(event_kind_count));
}

TEST(policy_table, transitions_are_listed_for_explain) {
  driven_primary p;
  p.taken_over();
  bool found = false;
  for (const transition& each : transitions_from(p.state)) {
    found |=
        each.event == "stop-failover" && each.to == "StandingDown(stop_application)" && each.guard.empty();
  }
  EXPECT_TRUE(found);
}

TEST(policy_diagram, docs_are_up_to_date) {
  const std::string path = POLICY_DIAGRAM_PATH;
  if (std::getenv("UNDERSTUDY_WRITE_GOLDEN") != nullptr) std::ofstream(path) << render_diagram();
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  EXPECT_TRUE(text.str() == render_diagram())
      << "docs/state-machine.md differs from the table; write it anew with "
         "UNDERSTUDY_WRITE_GOLDEN=1";
}

}  // namespace
}  // namespace understudy::policy
