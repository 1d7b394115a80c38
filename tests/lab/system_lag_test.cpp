// What an operator is told about how far a copy is behind, by the API and by understudyctl.

#include <signal.h>

#include "tests/lab/system_fixture.hpp"

namespace understudy::test {
namespace {

using testing::HasSubstr;

class system_lag : public system_test {
 protected:
  v1::CopyStatus copy() {
    const auto state = site->state();
    return state && state->databases_size() == 1 ? state->databases(0) : v1::CopyStatus{};
  }
  std::string shown() { return site->ctl({"status", "primary"}).output; }
};

TEST_F(system_lag, is_nothing_in_step_grows_while_behind_and_is_unknown_without_a_connection) {
  protect();
  ASSERT_TRUE(wait_until([&] { return copy().phase() == v1::COPY_PHASE_STREAMING; }, 20s));
  auto& client = client_at(site->control_address());
  ASSERT_TRUE(wait_until(
      [&] {
        const auto now = copy();
        return now.durable() > 20 && now.has_behind_transactions() && now.behind_transactions() == 0 &&
               !now.has_behind();
      },
      20s));
  EXPECT_TRUE(copy().has_durable_captured_at());
  client.stop();

  // A host that hears nothing: first it is behind and does not know by how much, then it is cut.
  const auto silent_at = std::chrono::system_clock::now();
  site->agent().signal(SIGSTOP);
  ASSERT_TRUE(wait_until([&] { return copy().has_behind(); }, 20s));
  EXPECT_FALSE(copy().has_behind_transactions()) << copy().ShortDebugString();
  ASSERT_TRUE(wait_until([&] { return copy().phase() == v1::COPY_PHASE_CUT; }, 20s));
  const auto cut = copy();
  EXPECT_FALSE(cut.has_behind_transactions());
  EXPECT_FALSE(cut.has_behind_bytes());
  const auto since =
      std::chrono::system_clock::time_point{std::chrono::seconds{cut.behind_since().seconds()}};
  EXPECT_LT(std::chrono::abs(since - silent_at), 5s) << "the last moment at which it was in step";
  EXPECT_THAT(shown(), HasSubstr("unknown for "));
  // It grows with nothing else happening.
  ASSERT_TRUE(wait_until([&] { return copy().behind().seconds() > cut.behind().seconds() + 1; }, 20s));

  site->agent().signal(SIGCONT);
  ASSERT_TRUE(wait_until(
      [&] {
        const auto now = copy();
        return now.phase() == v1::COPY_PHASE_STREAMING && !now.has_behind() &&
               now.has_behind_transactions() && now.behind_transactions() == 0;
      },
      30s));
}

}  // namespace
}  // namespace understudy::test
