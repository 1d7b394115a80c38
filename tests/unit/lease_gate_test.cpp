#include "agent-primary/lease/gate.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

namespace understudy::lease {
namespace {

using namespace std::chrono_literals;

constexpr time_point t0{1000s};
const service_address address{"10.0.0.5", 24, "eth0"};

std::string name_of(const gate_action& action) {
  struct namer {
    std::string operator()(const store& a) const {
      return std::string("store ") + to_string(a.right.owner) + " " + std::to_string(a.right.epoch);
    }
    std::string operator()(const ask_host&) const { return "ask"; }
    std::string operator()(const add_addresses& a) const {
      return "add " + std::to_string(a.addresses.size());
    }
    std::string operator()(const remove_addresses& a) const {
      return "remove " + std::to_string(a.addresses.size());
    }
    std::string operator()(const start_applications&) const { return "start"; }
    std::string operator()(const stop_applications& a) const {
      return "stop " + std::to_string(a.grace.count());
    }
    std::string operator()(const kill_applications&) const { return "kill"; }
    std::string operator()(const open_flag&) const { return "open"; }
    std::string operator()(const close_flag&) const { return "close"; }
    std::string operator()(const refuse&) const { return "refuse"; }
    std::string operator()(const note&) const { return "note"; }
  };
  return std::visit(namer{}, action);
}

struct lease_gate : testing::Test {
  gate_state state;

  std::string feed(const gate_event& event) {
    gate_step result = step(state, event);
    state = result.state;
    std::string text;
    for (const gate_action& action : result.actions) {
      if (std::holds_alternative<note>(action)) continue;
      text += (text.empty() ? "" : ", ") + name_of(action);
    }
    return text;
  }
  // Fenced while its applications ran, and now given the right back; they have not stopped yet.
  granted back_while_stopping() {
    feed(boot(right_owner::primary, 4));
    feed(grant(4));
    feed(applications_changed{false});
    feed(fence(5));
    granted back = grant(6);
    back.start_applications = true;
    return back;
  }
  static booted boot(right_owner owner, std::uint64_t epoch, bool host_known = true) {
    booted event;
    event.right.owner = owner;
    event.right.epoch = epoch;
    event.right.service_addresses = {address};
    event.host_known = host_known;
    event.now = t0;
    return event;
  }
  static granted grant(std::uint64_t epoch, std::optional<std::chrono::milliseconds> lease = {},
                       time_point now = t0) {
    granted event;
    event.epoch = epoch;
    event.lease = lease;
    event.asked_at = now;
    event.now = now;
    event.addresses = {address};
    return event;
  }
  static fenced fence(std::uint64_t epoch) {
    fenced event;
    event.epoch = epoch;
    event.owner_name = "standby";
    event.reason = "the primary does not answer";
    event.addresses = {address};
    return event;
  }
};

TEST_F(lease_gate, a_fresh_install_runs_without_asking_anybody) {
  EXPECT_EQ(feed(booted{}), "open, start");
  EXPECT_EQ(state.phase, gate_phase::open);
}

TEST_F(lease_gate, after_a_reset_it_asks_before_it_starts) {
  EXPECT_EQ(feed(boot(right_owner::primary, 4)), "close, ask");
  EXPECT_EQ(feed(start_asked{}), "refuse");
  EXPECT_EQ(feed(grant(4)), "add 1, open, start");
  EXPECT_EQ(feed(applications_changed{false}), "");
  EXPECT_EQ(feed(start_asked{}), "");
}

TEST_F(lease_gate, silence_starts_it_in_compat_only) {
  feed(boot(right_owner::primary, 4));
  EXPECT_EQ(feed(ask_timed_out{}), "add 1, open, start");

  booted leased = boot(right_owner::primary, 4);
  leased.right.leased = true;
  EXPECT_EQ(feed(leased), "close, ask");
  EXPECT_EQ(feed(ask_timed_out{}), "ask");
  EXPECT_EQ(state.phase, gate_phase::asking);
  EXPECT_EQ(feed(grant(4, 20s)), "add 1, open, start");
}

TEST_F(lease_gate, a_primary_that_returns_while_a_stand_in_serves_stays_down) {
  EXPECT_EQ(feed(boot(right_owner::failover_host, 5)), "close, remove 1, ask");
  EXPECT_EQ(feed(ask_timed_out{}), "");
  EXPECT_EQ(feed(start_asked{}), "refuse");
  EXPECT_EQ(feed(grant(5)), "refuse");
  EXPECT_EQ(feed(grant(4)), "refuse");
  EXPECT_EQ(state.phase, gate_phase::closed);
}

TEST_F(lease_gate, one_that_did_not_know_learns_it_from_the_answer_at_boot) {
  feed(boot(right_owner::primary, 4));
  EXPECT_EQ(feed(fence(5)), "store failover_host 5, close, remove 1");
  EXPECT_EQ(feed(ask_timed_out{}), "");
  EXPECT_EQ(state.phase, gate_phase::closed);
}

TEST_F(lease_gate, a_fence_is_durable_before_anything_stops_and_the_addresses_go_last) {
  feed(boot(right_owner::primary, 4));
  feed(grant(4));
  feed(applications_changed{false});
  EXPECT_EQ(feed(fence(5)), "store failover_host 5, close, stop 0");
  EXPECT_EQ(state.phase, gate_phase::closing);
  EXPECT_EQ(feed(fence(5)), "") << "idempotent";
  EXPECT_EQ(feed(applications_changed{true}), "remove 1");
  EXPECT_EQ(state.phase, gate_phase::closed);
}

TEST_F(lease_gate, a_grant_is_durable_before_anything_starts) {
  feed(boot(right_owner::failover_host, 5));
  granted back = grant(6);
  back.start_applications = true;
  EXPECT_EQ(feed(back), "store primary 6, add 1, open, start");
  // The power is cut anywhere in between: the record says primary, and the host is asked again.
  EXPECT_EQ(feed(boot(right_owner::primary, 6)), "close, ask");
}

TEST_F(lease_gate, a_grant_without_a_wish_to_start_leaves_them_down) {
  feed(boot(right_owner::failover_host, 5));
  EXPECT_EQ(feed(grant(6)), "store primary 6, add 1, open");
}

TEST_F(lease_gate, a_grant_while_they_are_still_stopping_starts_them_when_they_are_down) {
  const granted back = back_while_stopping();
  EXPECT_EQ(feed(back), "store primary 6, add 1, open");
  EXPECT_EQ(feed(applications_changed{true}), "start");
}

TEST_F(lease_gate, a_grant_while_they_run_does_not_undo_a_later_stop) {
  feed(boot(right_owner::primary, 4));
  feed(grant(4));
  feed(applications_changed{false});
  granted again = grant(4);
  again.start_applications = true;
  EXPECT_EQ(feed(again), "");
  EXPECT_EQ(feed(applications_changed{true}), "") << "an operator stopped them";
  EXPECT_EQ(feed(again), "start");
}

TEST_F(lease_gate, one_found_running_at_boot_may_be_stopped) {
  booted found;  // the agent was installed beside a running application
  found.applications_up = true;
  EXPECT_EQ(feed(found), "open");
  EXPECT_EQ(feed(applications_changed{true}), "");
}

TEST_F(lease_gate, a_grant_repeated_while_they_are_still_stopping_does_not_lose_the_start) {
  const granted back = back_while_stopping();
  feed(back);
  EXPECT_EQ(feed(back), "");
  EXPECT_EQ(feed(grant(6)), "");
  EXPECT_EQ(feed(applications_changed{true}), "start");
  feed(applications_changed{false});
  EXPECT_EQ(feed(applications_changed{true}), "") << "once";
}

TEST_F(lease_gate, a_fence_repeated_removes_what_is_new_or_was_left) {
  feed(boot(right_owner::failover_host, 5));
  feed(fence(5));
  EXPECT_EQ(feed(fence(5)), "remove 1");
  fenced more = fence(5);
  more.addresses.push_back({"10.0.0.6", 24, "eth0"});
  EXPECT_EQ(feed(more), "store failover_host 5, remove 2");
}

TEST_F(lease_gate, epochs_never_go_back) {
  feed(boot(right_owner::primary, 4));
  feed(grant(7));
  EXPECT_EQ(feed(grant(6)), "refuse");
  EXPECT_EQ(feed(fence(6)), "refuse");
  EXPECT_EQ(feed(fence(7)), "refuse") << "epoch 7 is the primary's";
  EXPECT_EQ(state.right.epoch, 7u);
}

TEST_F(lease_gate, a_damaged_record_starts_nothing_before_an_answer) {
  booted damaged;
  damaged.damaged = true;
  damaged.host_known = true;
  EXPECT_EQ(feed(damaged), "close, ask");
  EXPECT_EQ(feed(ask_timed_out{}), "ask");
  EXPECT_EQ(feed(grant(3)), "store primary 3, add 1, open, start");
}

TEST_F(lease_gate, a_restart_of_the_agent_alone_changes_nothing) {
  booted restarted = boot(right_owner::primary, 4);
  restarted.machine_booted = false;
  restarted.applications_up = true;
  EXPECT_EQ(feed(restarted), "add 1, open");
  restarted.applications_up = false;
  EXPECT_EQ(feed(restarted), "add 1, open") << "an operator had stopped them";
}

TEST_F(lease_gate, a_restart_of_the_agent_with_a_lease_keeps_to_its_end) {
  booted restarted = boot(right_owner::primary, 4);
  restarted.right.leased = true;
  restarted.machine_booted = false;
  restarted.applications_up = true;
  restarted.lease_end = t0 + 10s;
  EXPECT_EQ(feed(restarted), "add 1, open");
  EXPECT_EQ(next_deadline(state), t0 + 5s);
  restarted.lease_end.reset();
  EXPECT_EQ(feed(restarted), "add 1, open, close, stop 1, kill, remove 1")
      << "a lease that is not known is over";
}

TEST_F(lease_gate, a_lease_that_nobody_renews_stops_everything_before_its_end) {
  feed(boot(right_owner::primary, 4));
  EXPECT_EQ(feed(grant(4, 20s)), "store primary 4, add 1, open, start");
  feed(applications_changed{false});
  EXPECT_EQ(next_deadline(state), t0 + 15s);
  EXPECT_EQ(feed(clock_ticked{t0 + 14s}), "");
  EXPECT_EQ(feed(clock_ticked{t0 + 15s}), "close, stop 4000");
  EXPECT_EQ(next_deadline(state), t0 + 19s);
  EXPECT_EQ(feed(clock_ticked{t0 + 19s}), "kill, remove 1");
  EXPECT_EQ(next_deadline(state), std::nullopt);
  EXPECT_EQ(feed(applications_changed{true}), "remove 1");
  EXPECT_EQ(feed(start_asked{}), "refuse");
  // The network is back, and nobody took over meanwhile: the same epoch opens it again.
  EXPECT_EQ(feed(grant(4, 20s, t0 + 60s)), "add 1, open, start");
}

TEST_F(lease_gate, a_lease_that_ends_does_not_undo_an_operators_stop) {
  feed(boot(right_owner::primary, 4));
  feed(grant(4, 20s));
  feed(applications_changed{false});
  feed(applications_changed{true});  // stopped by hand
  EXPECT_EQ(feed(clock_ticked{t0 + 15s}), "close, remove 1");
  granted later = grant(4, 20s, t0 + 60s);
  later.start_applications = false;
  EXPECT_EQ(feed(later), "add 1, open");
}

TEST_F(lease_gate, a_renewal_moves_the_end_and_never_back) {
  feed(boot(right_owner::primary, 4));
  feed(grant(4, 20s));
  EXPECT_EQ(feed(grant(4, 20s, t0 + 2s)), "");
  EXPECT_EQ(state.lease_end, t0 + 22s);
  granted overtaken = grant(4, 20s, t0 + 3s);
  overtaken.asked_at = t0 + 1s;
  feed(overtaken);
  EXPECT_EQ(state.lease_end, t0 + 22s);
}

TEST_F(lease_gate, a_grant_that_was_long_on_its_way_is_useless) {
  feed(boot(right_owner::primary, 4));
  granted late = grant(4, 20s, t0 + 16s);
  late.asked_at = t0;
  EXPECT_EQ(feed(late), "refuse");
  EXPECT_EQ(state.phase, gate_phase::asking);
}

TEST_F(lease_gate, what_is_started_behind_its_back_is_stopped) {
  feed(boot(right_owner::failover_host, 5));
  EXPECT_EQ(feed(applications_changed{false}), "close, stop 0");
}

TEST_F(lease_gate, addresses_that_a_new_grant_leaves_out_are_removed) {
  feed(boot(right_owner::primary, 4));
  feed(grant(4));
  granted other = grant(4);
  other.addresses = {{"10.0.0.6", 24, "eth0"}};
  EXPECT_EQ(feed(other), "store primary 4, remove 1, add 1");
}

// Random walks with power cuts: whatever comes, applications run only with the right on durable record, and
// the durable epoch never goes back.
TEST_F(lease_gate, random_events_and_power_cuts_keep_the_promises) {
  std::mt19937 random(20261122);
  right_record durable;
  bool up = false;
  bool flag = false;  // outlives a power cut
  time_point now = t0;
  const auto move_flag = [&flag](const gate_action& action) {
    if (std::holds_alternative<open_flag>(action)) flag = true;
    if (std::holds_alternative<close_flag>(action)) flag = false;
  };
  feed(booted{});
  for (int turn = 0; turn < 200'000; ++turn) {
    const std::uint64_t epoch = durable.epoch + random() % 3 - (durable.epoch > 0 ? random() % 2 : 0);
    gate_event event;
    switch (random() % 8) {
      case 0:
        event =
            grant(epoch, random() % 2 ? std::optional<std::chrono::milliseconds>(20s) : std::nullopt, now);
        break;
      case 1:
        event = fence(epoch);
        break;
      case 2:
        event = ask_timed_out{};
        break;
      case 3:
        if (!up) continue;
        up = false;
        event = applications_changed{true};
        break;
      case 4:
        event = start_asked{};
        break;
      case 5:
        event = clock_ticked{now += std::chrono::milliseconds(random() % 8000)};
        break;
      case 6: {
        booted again;
        again.right = durable;
        again.machine_booted = random() % 2 == 0;
        if (again.machine_booted) up = false;
        again.applications_up = up;
        again.host_known = durable.epoch > 0;
        again.now = now;
        event = again;
        break;
      }
      default:
        event = clock_ticked{now};
    }
    const gate_step result = step(state, event);
    state = result.state;
    // The power may be cut before any action: then only what was done up to there counts.
    const std::size_t cut =
        random() % 20 == 0 ? random() % (result.actions.size() + 1) : result.actions.size();
    for (std::size_t i = 0; i < cut; ++i) {
      move_flag(result.actions[i]);
      if (const auto* s = std::get_if<store>(&result.actions[i])) {
        ASSERT_GE(s->right.epoch, durable.epoch) << "turn " << turn;
        durable = s->right;
      } else if (std::holds_alternative<start_applications>(result.actions[i])) {
        ASSERT_NE(durable.owner, right_owner::failover_host) << "turn " << turn;
        ASSERT_FALSE(up) << "turn " << turn;
        ASSERT_EQ(state.phase, gate_phase::open);
        up = true;
        state = step(state, applications_changed{false}).state;
      } else if (std::holds_alternative<kill_applications>(result.actions[i])) {
        up = false;
        state = step(state, applications_changed{true}).state;
      }
    }
    if (cut < result.actions.size()) {
      booted again;
      again.right = durable;
      again.host_known = durable.epoch > 0;
      again.now = now;
      up = false;
      const gate_step after = step(state, again);
      state = after.state;
      for (const gate_action& action : after.actions) move_flag(action);
    }
    ASSERT_TRUE(state.phase == gate_phase::open || !flag) << "turn " << turn;
    ASSERT_TRUE(state.phase != gate_phase::closed || !up) << "turn " << turn;
    ASSERT_TRUE(state.phase != gate_phase::open || state.right.owner != right_owner::failover_host)
        << "turn " << turn;
  }
}

TEST(lease_right_record, survives_the_round_trip_and_nothing_else) {
  right_record record;
  record.epoch = 42;
  record.owner = right_owner::failover_host;
  record.owner_name = "standby";
  record.reason = "power cut\nepoch 99";  // must not become a line
  record.since_unix = 1'800'000'000;
  record.host_address = "10.0.0.9:7200";
  record.server = "aklmatrix";
  record.leased = true;
  record.service_addresses = {{"10.0.0.5", 24, "eth0"}, {"fd00::5", 64, ""}};
  const std::string text = format_record(record);
  right_record expected = record;
  expected.reason = "power cut epoch 99";
  EXPECT_EQ(*parse_record(text), expected);
  for (std::size_t size = 0; size < text.size(); ++size)
    EXPECT_FALSE(parse_record(text.substr(0, size)).ok()) << size;
  for (std::size_t at = 0; at < text.size(); ++at) {
    std::string flipped = text;
    flipped[at] = static_cast<char>(flipped[at] ^ 1);
    EXPECT_FALSE(parse_record(flipped).ok()) << at;
  }
}

}  // namespace
}  // namespace understudy::lease
