#include "agent-failover/server/worker.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <future>

#include "agent-failover/server/timed_wait.hpp"

namespace understudy::server {
namespace {

using namespace std::chrono_literals;
using std::chrono::steady_clock;

constexpr auto enough = 20s;  // a deadline, never a pause

TEST(host_worker, runs_jobs_one_at_a_time_in_order) {
  std::vector<int> order;
  std::promise<void> last;
  {
    worker one("a name longer than the kernel takes");
    for (int n = 0; n < 100; ++n) one.post([&, n] { order.push_back(n); });
    one.post([&] { last.set_value(); });
    ASSERT_EQ(last.get_future().wait_for(enough), std::future_status::ready);
  }
  ASSERT_EQ(order.size(), 100u);
  for (int n = 0; n < 100; ++n) EXPECT_EQ(order[n], n);
}

TEST(host_worker, a_job_may_post) {
  std::promise<void> done;
  worker one("w");
  one.post([&] { one.post([&] { done.set_value(); }); });
  EXPECT_EQ(done.get_future().wait_for(enough), std::future_status::ready);
}

TEST(host_worker, its_end_finishes_the_running_job_and_drops_the_rest) {
  std::promise<void> began;
  std::promise<void> go_on;
  std::atomic<bool> finished{false};
  std::atomic<bool> dropped_ran{false};
  auto kept = std::make_shared<int>(1);
  const std::weak_ptr<int> held = kept;
  std::thread ending;
  {
    auto one = std::make_unique<worker>("w");
    one->post([&] {
      began.set_value();
      go_on.get_future().wait();
      finished = true;
    });
    one->post([&, kept = std::move(kept)] { dropped_ran = true; });
    began.get_future().wait();
    ending = std::thread([one = std::move(one)]() mutable { one.reset(); });
  }
  // Dropped while the first one still runs: what it held is let go.
  const auto deadline = steady_clock::now() + enough;
  while (!held.expired() && steady_clock::now() < deadline) std::this_thread::yield();
  EXPECT_TRUE(held.expired());
  EXPECT_FALSE(finished);
  go_on.set_value();
  ending.join();
  EXPECT_TRUE(finished);
  EXPECT_FALSE(dropped_ran);
}

TEST(host_timed_wait, answers_at_once_when_it_holds) {
  timed_wait wait;
  EXPECT_TRUE(wait.until(steady_clock::now() - 1s, [] { return true; })) << "even after the deadline";
}

TEST(host_timed_wait, ends_at_the_deadline) {
  timed_wait wait;
  const auto deadline = steady_clock::now() + 20ms;
  EXPECT_FALSE(wait.until(deadline, [] { return false; }));
  EXPECT_GE(steady_clock::now(), deadline);
}

TEST(host_timed_wait, sees_a_change_whenever_it_comes) {
  for (int round = 0; round < 200; ++round) {
    timed_wait wait;
    std::atomic<bool> happened{false};
    std::thread other([&] {
      happened = true;
      wait.notify();
    });
    const auto begun = steady_clock::now();
    EXPECT_TRUE(wait.until(begun + enough, [&] { return happened.load(); }));
    EXPECT_LT(steady_clock::now() - begun, enough / 2);
    other.join();
  }
}

}  // namespace
}  // namespace understudy::server
