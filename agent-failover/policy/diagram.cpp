// docs/state-machine.md, made from the table.

#include <fmt/core.h>

#include <algorithm>
#include <string>
#include <vector>

#include "agent-failover/policy/effects.hpp"

namespace understudy::policy {
namespace {

std::string guards_of(const row& each, const char* separator) {
  std::string text;
  for (const guard which : each.guards) {
    if (!text.empty()) text += separator;
    text += to_string(which);
  }
  return text;
}

template <class Value>
std::string from_names(std::uint64_t bits, int count) {
  std::string text;
  for (int i = 0; i < count; ++i) {
    if ((bits >> i & 1u) == 0) continue;
    if (!text.empty()) text += ", ";
    text += to_string(static_cast<Value>(i));
  }
  return text;
}

bool leaves_phase(const row& each, phase from) {
  return !each.stays && (each.from >> static_cast<unsigned>(from) & 1u) != 0 && each.to != from;
}

// One arrow between two phases, labelled with the events that take it.
std::string phase_diagram() {
  std::string text = "```mermaid\nstateDiagram-v2\n  [*] --> Monitoring\n";
  for (int i = 0; i < phase_count; ++i) {
    for (int j = 0; j < phase_count; ++j) {
      std::vector<std::string> labels;
      for (const row& each : table()) {
        if (!leaves_phase(each, static_cast<phase>(i)) || each.to != static_cast<phase>(j)) continue;
        std::string label = to_string(each.when);
        if (std::find(labels.begin(), labels.end(), label) == labels.end())
          labels.push_back(std::move(label));
      }
      if (labels.empty()) continue;
      std::string joined;
      for (const std::string& each : labels) joined += joined.empty() ? each : ", " + each;
      text += fmt::format("  {} --> {}: {}\n", to_string(static_cast<phase>(i)),
                          to_string(static_cast<phase>(j)), joined);
    }
  }
  return text + "```\n";
}

// The steps of one phase, as step_done and step_failed lead through them.
std::string step_diagram(phase of) {
  std::string text = "```mermaid\nstateDiagram-v2\n";
  for (const row& each : table()) {
    const bool result = each.when == event_kind::step_done || each.when == event_kind::step_failed;
    if (each.from != 1u << static_cast<unsigned>(of) || each.steps == 0 || each.stays || !result) continue;
    for (int i = 1; i < step_count; ++i) {
      if ((each.steps >> i & 1u) == 0) continue;
      const std::string target = each.to == of ? to_string(each.next) : to_string(each.to);
      std::string label = each.when == event_kind::step_done ? "done" : "failed";
      if (!each.guards.empty()) label += " and " + guards_of(each, " and ");
      text += fmt::format("  {} --> {}: {}\n", to_string(static_cast<step_id>(i)), target, label);
    }
  }
  return text + "```\n";
}

std::string whole_table() {
  std::string text = "| from | event | guards | to | what it does | why |\n|---|---|---|---|---|---|\n";
  for (const row& each : table()) {
    const bool anywhere = each.from == (1u << phase_count) - 1;
    std::string from = anywhere ? "anywhere" : from_names<phase>(each.from, phase_count);
    if (each.steps != 0) from += ": " + from_names<step_id>(each.steps, step_count);
    std::string to = each.stays ? "stays" : to_string(each.to);
    if (!each.stays && each.next != step_id::none) to += fmt::format("({})", to_string(each.next));
    std::string does;
    for (const effect which : each.effects) {
      if (!does.empty()) does += ", ";
      does += to_string(which);
    }
    std::replace(does.begin(), does.end(), '_', ' ');
    text += fmt::format("| {} | {} | {} | {} | {} | {} |\n", from, to_string(each.when),
                        guards_of(each, ", "), to, does, each.comment);
  }
  return text;
}

std::string guard_table() {
  std::string text = "| guard | holds when |\n|---|---|\n";
  for (int i = 1; i < guard_count; ++i) {
    text += fmt::format("| {} | {} |\n", to_string(static_cast<guard>(i)), describe(static_cast<guard>(i)));
  }
  return text;
}

}  // namespace

std::string render_diagram() {
  std::string text =
      "# The state machine of one primary\n\n"
      "Made from the table in `agent-failover/policy/`; do not edit. After a change of the table write it "
      "anew with\n"
      "`UNDERSTUDY_WRITE_GOLDEN=1 build/release/bin/unit_tests --gtest_filter='policy_diagram*'`.\n\n"
      "For an event the first row that fits fires; an event without a row changes nothing. An arrow below is "
      "drawn\n"
      "once for all the events that lead from one state to the other.\n\n";
  text += phase_diagram();
  for (const phase each : {phase::taking_over, phase::standing_down, phase::failing_back}) {
    text += fmt::format("\n## {}\n\n", to_string(each)) + step_diagram(each);
  }
  text += fmt::format(
      "\n## Guards\n\nAll guards of a row must hold. The model check removes each of them in turn and "
      "must see an invariant break.\n\n{}",
      guard_table());
  text += fmt::format("\n## The {} rows\n\n{}", table().size(), whole_table());
  return text;
}

}  // namespace understudy::policy
