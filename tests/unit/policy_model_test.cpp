// The exhaustive check of the state machine: see policy_model.hpp for what is modelled.

#include <fmt/core.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "tests/unit/policy_model.hpp"

namespace understudy::policy {
namespace {

using model::finding;

options small(protection mode) {
  return {.warning_count = 2,
          .claim_count = 1,
          .failover_count = 2,
          .failover_count_after_reboot = 3,
          .mode = mode};
}

std::vector<model::settings> worlds() {
  options warned = small(protection::compat);
  warned.failover_count = 3;
  warned.auto_stop_choice = diverged_choice::discard_primary;  // stored, and auto_stop is off
  options guarded = small(protection::guarded);
  options returning = small(protection::compat);
  returning.auto_stop = true;
  returning.auto_stop_choice = diverged_choice::discard_primary;
  options returning_with_address = returning;
  returning_with_address.assume_ip = true;
  options returning_undecided = returning;
  returning_undecided.auto_stop_choice = diverged_choice::none;
  options by_hand_only = small(protection::compat);
  by_hand_only.manual_only = true;
  return {
      {.name = "small", .configured = warned, .blindness = false},
      {.name = "versions", .configured = warned, .versions = true},
      {.name = "no copy", .configured = warned, .by_hand = true, .no_copy = true},
      {.name = "by hand only", .configured = by_hand_only, .by_hand = true},
      {.name = "returns by itself", .configured = returning, .crashes = true},
      {.name = "must not: address", .configured = returning_with_address},
      {.name = "must not: undecided", .configured = returning_undecided},
      {.name = "blind", .configured = warned, .cuts = true, .blindness = true},
      {.name = "pauses and slots", .configured = warned, .slots = true, .pauses = true},
      {.name = "failures", .configured = warned, .failures = true, .by_hand = true},
      {.name = "by hand, crashes", .configured = small(protection::compat), .crashes = true, .by_hand = true},
      {.name = "failures, crashes",
       .configured = small(protection::compat),
       .crashes = true,
       .failures = true},
      {.name = "compat, network cut", .configured = small(protection::compat), .cuts = true, .crashes = true},
      {.name = "guarded", .configured = guarded, .cuts = true, .crashes = true},
      {.name = "guarded by hand", .configured = guarded, .cuts = true, .by_hand = true},
  };
}

std::string told(const std::vector<std::string>& trace) {
  std::string text;
  for (const std::string& each : trace) text += "\n    " + each;
  return text;
}

TEST(policy_model, only_a_cut_network_in_compat_breaks_an_invariant) {
  std::vector<std::string> shortest;
  for (const model::settings& with : worlds()) {
    const model::report found = model::explore(with);
    fmt::print("{}: {} states, {} edges\n", with.name, found.states, found.edges);
    EXPECT_TRUE(found.stuck.empty()) << with.name << ": no way back to Monitoring from" << told(found.stuck);
    const bool may_split = with.cuts && with.configured.mode == protection::compat;
    for (const auto& [what, trace] : found.found) {
      if (may_split && what == finding::two_running) {
        if (shortest.empty() || trace.size() < shortest.size()) shortest = trace;
        continue;
      }
      ADD_FAILURE() << with.name << ": " << to_string(what) << told(trace);
    }
  }
  fmt::print("compat, shortest way to two running:{}\n", told(shortest));
  ASSERT_FALSE(shortest.empty()) << "the model no longer finds the known counterexample: it checks nothing";
  EXPECT_TRUE(std::any_of(shortest.begin(), shortest.end(),
                          [](const std::string& each) { return each.starts_with("link cut"); }));
  EXPECT_TRUE(std::none_of(shortest.begin(), shortest.end(),
                           [](const std::string& each) { return each.starts_with("primary loses power"); }));
}

TEST(policy_model, every_guard_removed_is_caught) {
  for (int i = 1; i < guard_count; ++i) {
    const auto removed = static_cast<guard>(i);
    std::string caught;
    for (const model::settings& with : worlds()) {
      const model::report found = model::explore(with, removed, true);
      for (const auto& [what, trace] : found.found) {
        if (what == finding::two_running && with.cuts && with.configured.mode == protection::compat) continue;
        caught = fmt::format("{} (world \"{}\", {} steps)", to_string(what), with.name, trace.size());
      }
      if (!caught.empty()) break;
    }
    fmt::print("without {}: {}\n", to_string(removed), caught.empty() ? "NOT CAUGHT" : caught);
    EXPECT_FALSE(caught.empty()) << "nothing breaks without " << to_string(removed);
  }
}

TEST(policy_model, sees_actors_that_break_their_contract) {
  model::settings with{.name = "lease", .configured = small(protection::guarded), .cuts = true};
  with.lease_not_waited_for = true;
  EXPECT_TRUE(model::explore(with).found.contains(finding::two_running));
  with = {.name = "persistence", .configured = small(protection::compat), .crashes = true};
  with.state_not_persisted = true;
  EXPECT_TRUE(model::explore(with, guard::none, true).found.contains(finding::orphan_stand_in));
  with = {.name = "aside", .configured = small(protection::compat)};
  with.nothing_set_aside = true;
  EXPECT_TRUE(model::explore(with).found.contains(finding::data_destroyed));
}

}  // namespace
}  // namespace understudy::policy
