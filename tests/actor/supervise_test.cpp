#include "common/actor/supervise.hpp"

#include <caf/event_based_actor.hpp>
#include <caf/send.hpp>

#include "common/actor/caf_compat.hpp"
#include "tests/support/actor_fixture.hpp"

namespace understudy::actors {
namespace {

using namespace std::chrono_literals;
UNDERSTUDY_ATOM(tick, "tick");
UNDERSTUDY_ATOM(fail, "fail");

struct observed {
  int ticks = 0;
  int child_exits = 0;
  bool child_gone = false;
  caf::actor child;
};

caf::behavior ticking_child(caf::event_based_actor* self, observed* seen) {
  self->delayed_send(self, 1s, tick_v);
  self->attach_functor([seen] { seen->child_gone = true; });
  return {[self, seen](tick_atom) {
            ++seen->ticks;
            self->delayed_send(self, 1s, tick_v);
          },
          [self](fail_atom) { self->quit(caf::exit_reason::unhandled_exception); }};
}

caf::behavior parent(caf::event_based_actor* self, observed* seen) {
  seen->child = self->spawn<caf::linked>(ticking_child, seen);
  trap_child_exits(
      self, [seen](const caf::actor_addr& who) { return seen->child && who == seen->child.address(); },
      [seen](const caf::actor_addr&, const caf::error&) {
        ++seen->child_exits;
        seen->child = nullptr;
      });
  return {[](tick_atom) {}};
}

struct supervise_test : test::actor_fixture {
  observed seen;
};

TEST_F(supervise_test, time_moves_only_by_hand) {
  const caf::actor root = system.spawn(parent, &seen);
  settle();
  EXPECT_EQ(seen.ticks, 0);
  advance(1s);
  EXPECT_EQ(seen.ticks, 1);
  caf::anon_send_exit(root, caf::exit_reason::user_shutdown);
  settle();
}

TEST_F(supervise_test, a_childs_death_is_an_event_for_its_parent) {
  const caf::actor root = system.spawn(parent, &seen);
  settle();
  self->send(seen.child, fail_v);
  settle();
  EXPECT_EQ(seen.child_exits, 1);
  bool alive = true;
  root->attach_functor([&alive] { alive = false; });
  self->send(root, tick_v);
  settle();
  EXPECT_TRUE(alive);
  caf::anon_send_exit(root, caf::exit_reason::user_shutdown);
  settle();
  EXPECT_FALSE(alive);
}

TEST_F(supervise_test, a_parents_death_takes_its_children_along) {
  const caf::actor root = system.spawn(parent, &seen);
  settle();
  caf::anon_send_exit(root, caf::exit_reason::kill);
  settle();
  EXPECT_TRUE(seen.child_gone);
  seen.child = nullptr;
}

TEST(restart_budget, grows_its_pause_and_gives_up) {
  restart_budget budget(4, 60s, 100ms, 300ms);
  const std::chrono::steady_clock::time_point now{1000s};
  EXPECT_EQ(budget.after_end(now), 100ms);
  EXPECT_EQ(budget.after_end(now + 1s), 200ms);
  EXPECT_EQ(budget.after_end(now + 2s), 300ms);
  EXPECT_EQ(budget.after_end(now + 3s), 300ms);
  EXPECT_LT(budget.after_end(now + 4s), 0ms);
  EXPECT_EQ(budget.after_end(now + 100s), 100ms);
}

}  // namespace
}  // namespace understudy::actors
