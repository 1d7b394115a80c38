#include <caf/send.hpp>
#include <caf/typed_event_based_actor.hpp>

#include "agent-failover/actors/slot_arbiter.hpp"
#include "agent-failover/api/board.hpp"
#include "tests/support/actor_fixture.hpp"

namespace understudy::actors {
namespace {

using reports = std::vector<slot_report>;

// A supervisor that only listens to the arbiter.
supervisor_actor::behavior_type listener(supervisor_actor::pointer, std::shared_ptr<reports> heard) {
  return {
      [](atom::sample_atom, const network::probe_sample&) {},
      [](atom::line_atom, const link_report&) {},
      [](atom::step_end_atom, const step_report&) {},
      [heard](atom::slot_atom, const slot_report& report) { heard->push_back(report); },
      [](atom::health_atom, const network::health_verdict&) {},
      [](atom::conflict_atom, const std::string&, const std::string&) {},
      [](atom::happened_atom, const policy::event&) {},
      [](atom::command_atom, const std::shared_ptr<command_envelope>&) {},
      [](atom::program_atom, const std::shared_ptr<application_envelope>&) {},
      [](atom::changed_atom) {},
      [](atom::second_atom) {},
      [](atom::settings_atom, const v1::Settings&) {},
      [](atom::adopted_atom, const v1::ServerSpec&) {},
      [](atom::own_address_atom, bool) {},
      [](atom::shutdown_atom) {},
  };
}

struct host_arbiter : test::actor_fixture {
  struct one {
    std::shared_ptr<reports> heard = std::make_shared<reports>();
    supervisor_actor actor;
    slot_report last() const { return heard->empty() ? slot_report{} : heard->back(); }
  };
  api::board board;
  arbiter_actor arbiter = spawn_slot_arbiter(system, board);
  one a = make(), b = make(), c = make();

  one make() {
    one made;
    made.actor = system.spawn(listener, made.heard);
    return made;
  }
  ~host_arbiter() override {
    for (const auto& each : {a.actor, b.actor, c.actor}) caf::anon_send_exit(each, caf::exit_reason::kill);
    caf::anon_send_exit(arbiter, caf::exit_reason::kill);
    settle();
  }
  void request(const std::string& name, const one& who, std::uint64_t serial) {
    caf::anon_send(arbiter, atom::request_v, name, who.actor, serial);
  }
  void release(const std::string& name) { caf::anon_send(arbiter, atom::release_v, name); }
  std::string queue() const {
    std::string names;
    const v1::HostState host = board.host();
    for (const auto& name : host.queue()) names += name;
    return names;
  }
};

TEST_F(host_arbiter, one_at_a_time_in_the_order_of_asking) {
  request("a", a, 1);
  request("b", b, 1);
  request("c", c, 1);
  settle();
  EXPECT_TRUE(a.last().granted);
  EXPECT_FALSE(b.last().granted);
  EXPECT_EQ(b.last().position, 1u);
  EXPECT_EQ(b.last().holder, "a");
  EXPECT_EQ(c.last().position, 2u);
  EXPECT_EQ(board.host().standing_in_for(), "a");
  EXPECT_EQ(queue(), "bc");

  release("a");
  settle();
  EXPECT_TRUE(b.last().granted);
  EXPECT_FALSE(c.last().granted);
  EXPECT_EQ(c.last().position, 1u);
  EXPECT_EQ(c.last().holder, "b");
  EXPECT_EQ(board.host().standing_in_for(), "b");

  release("b");
  release("c");
  settle();
  EXPECT_EQ(board.host().standing_in_for(), "");
  EXPECT_EQ(queue(), "");
}

TEST_F(host_arbiter, asking_again_keeps_the_place) {
  request("a", a, 1);
  request("b", b, 1);
  request("c", c, 1);
  request("b", b, 2);
  request("a", a, 2);
  settle();
  EXPECT_TRUE(a.last().granted);
  EXPECT_EQ(a.last().serial, 2u);
  EXPECT_EQ(queue(), "bc");
  EXPECT_EQ(b.last().serial, 2u);
}

TEST_F(host_arbiter, leaving_the_queue) {
  request("a", a, 1);
  request("b", b, 1);
  request("c", c, 1);
  release("b");
  settle();
  EXPECT_EQ(queue(), "c");
  EXPECT_EQ(c.last().position, 1u);
  release("nobody");
  release("a");
  settle();
  EXPECT_TRUE(c.last().granted);
  EXPECT_FALSE(b.last().granted);
}

// B withdraws while the grant is on its way to it, and asks again: the grant answers its first request, and
// the arbiter has given the place to C by then. Taken for the answer to the second one, two would stand in.
TEST_F(host_arbiter, an_answer_says_which_request_it_answers) {
  request("a", a, 1);
  request("b", b, 1);
  settle();
  request("c", c, 1);
  release("a");
  release("b");
  request("b", b, 2);
  settle();
  std::size_t grants_of_the_second = 0;
  bool granted_the_first = false;
  for (const auto& report : *b.heard) {
    granted_the_first |= report.granted && report.serial == 1;
    grants_of_the_second += report.granted && report.serial == 2;
  }
  EXPECT_TRUE(granted_the_first);
  EXPECT_EQ(grants_of_the_second, 0u);
  EXPECT_TRUE(c.last().granted);
  EXPECT_EQ(board.host().standing_in_for(), "c");
}

}  // namespace
}  // namespace understudy::actors
