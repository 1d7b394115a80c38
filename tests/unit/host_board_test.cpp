#include "agent-failover/api/board.hpp"

#include <fmt/core.h>
#include <gtest/gtest.h>

#include <thread>

#include "tests/support/wait.hpp"

namespace understudy::api {
namespace {

using namespace std::chrono_literals;
using std::chrono::steady_clock;
using follower = std::shared_ptr<board::subscription>;

constexpr auto enough = 20s;  // a deadline, never a pause

v1::ServerState state(const std::string& name, std::uint64_t epoch) {
  v1::ServerState made;
  made.set_name(name);
  made.set_epoch(epoch);
  return made;
}

v1::Event event(std::uint64_t id, const std::string& server) {
  v1::Event made;
  made.set_id(id);
  made.set_server(server);
  return made;
}

v1::LogLine line(const std::string& server, const std::string& text,
                 v1::EventSeverity severity = v1::EVENT_SEVERITY_INFO) {
  v1::LogLine made;
  made.set_server(server);
  made.set_text(text);
  made.set_severity(severity);
  return made;
}

v1::Operation operation(const std::string& name, bool done) {
  v1::Operation made;
  made.set_name(name);
  made.set_server("a");
  made.set_done(done);
  return made;
}

// Everything that waits now.
std::vector<v1::WatchResponse> all_of(const follower& f) {
  std::vector<v1::WatchResponse> all;
  while (auto update = f->next(steady_clock::now())) all.push_back(*std::move(update));
  return all;
}

struct host_board : testing::Test {
  board shown;
};

TEST_F(host_board, begins_with_the_host_and_every_server) {
  shown.publish(state("a", 1));
  shown.publish(state("b", 2));
  const auto all = all_of(shown.subscribe({}));
  ASSERT_EQ(all.size(), 3u);
  EXPECT_TRUE(all[0].has_host());
  EXPECT_EQ(all[1].server().name(), "a");
  EXPECT_EQ(all[2].server().epoch(), 2u);
  EXPECT_EQ(shown.servers().size(), 2u);
  EXPECT_EQ(shown.server("b")->epoch(), 2u);
  EXPECT_FALSE(shown.server("c"));
}

TEST_F(host_board, delivers_a_state_once_however_often_it_changed) {
  const follower f = shown.subscribe({});
  all_of(f);
  for (std::uint64_t n = 1; n <= 100; ++n) shown.publish(state("a", n));
  const auto all = all_of(f);
  ASSERT_EQ(all.size(), 1u);
  EXPECT_EQ(all[0].server().epoch(), 100u);
}

TEST_F(host_board, filters_by_server_and_log) {
  const follower quiet = shown.subscribe({.servers = {"a"}});
  const follower chatty = shown.subscribe({.servers = {"a"}, .log = true});
  all_of(quiet);
  all_of(chatty);
  shown.publish(state("b", 1));
  shown.publish(event(1, "b"));
  shown.publish(line("b", "no"));
  shown.remove("b");
  EXPECT_TRUE(all_of(quiet).empty());
  EXPECT_TRUE(all_of(chatty).empty());
  shown.publish(event(2, "a"));
  shown.publish(event(3, ""));  // of the host itself
  shown.publish(line("a", "yes"));
  EXPECT_EQ(all_of(quiet).size(), 2u);
  EXPECT_EQ(all_of(chatty).size(), 3u);
}

TEST_F(host_board, a_removed_server_is_not_shown_again) {
  shown.publish(state("a", 1));
  const follower f = shown.subscribe({});
  all_of(f);
  shown.publish(state("a", 2));
  shown.remove("a");
  auto all = all_of(f);
  ASSERT_EQ(all.size(), 1u);
  EXPECT_EQ(all[0].removed_server(), "a");
  shown.publish(state("a", 7));  // added again
  all = all_of(f);
  ASSERT_EQ(all.size(), 1u);
  EXPECT_EQ(all[0].server().epoch(), 7u);
}

TEST_F(host_board, resumes_after_the_cursors) {
  for (std::uint64_t n = 1; n <= 5; ++n) shown.publish(event(n, n % 2 == 0 ? "a" : "b"));
  for (int n = 1; n <= 5; ++n) shown.publish(line("a", std::to_string(n)));
  EXPECT_EQ(all_of(shown.subscribe({.log = true})).size(), 1u) << "from now on: only the host";
  const auto all = all_of(shown.subscribe({.servers = {"a"}, .log = true, .after_event = 2, .after_log = 3}));
  ASSERT_EQ(all.size(), 4u);
  EXPECT_EQ(all[1].event().id(), 4u);
  EXPECT_EQ(all[2].log().text(), "4");
  EXPECT_EQ(all[3].log().id(), 5u);
}

TEST_F(host_board, says_where_it_goes_on_when_it_cannot_resume) {
  constexpr std::uint64_t published = 2500;
  for (std::uint64_t n = 1; n <= published; ++n) shown.publish(event(n, "a"));
  shown.publish(state("a", 1));
  const auto all = all_of(shown.subscribe({.after_event = 100}));
  ASSERT_GT(all.size(), 3u);
  ASSERT_TRUE(all[1].has_gap()) << all[1].ShortDebugString();
  EXPECT_GT(all[1].gap().next_event(), 101u);
  EXPECT_EQ(all[1].gap().next_log(), 0u);
  EXPECT_EQ(all[2].event().id(), all[1].gap().next_event());
  EXPECT_TRUE(all.back().has_server()) << "the snapshot is there all the same";
  const auto near = all_of(shown.subscribe({.after_event = published - 5}));
  for (const auto& update : near) EXPECT_FALSE(update.has_gap());
}

TEST_F(host_board, a_slow_follower_is_bounded_and_loses_the_oldest) {
  const follower slow = shown.subscribe({});
  all_of(slow);
  constexpr std::uint64_t published = 10000;
  for (std::uint64_t n = 1; n <= published; ++n) shown.publish(event(n, "a"));
  shown.publish(state("a", 1));
  const auto all = all_of(slow);
  EXPECT_LT(all.size(), 5000u);
  EXPECT_GT(all.size(), 1000u);
  EXPECT_GT(all.front().event().id(), 1u) << "the gap shows in the ids";
  EXPECT_EQ(all[all.size() - 2].event().id(), published);
  EXPECT_TRUE(all.back().has_server()) << "a state is never lost";
}

TEST_F(host_board, what_is_kept_for_readers_is_bounded) {
  for (int n = 0; n < 6000; ++n) shown.publish(line("a", std::to_string(n)));
  EXPECT_EQ(shown.log("", v1::EVENT_SEVERITY_UNSPECIFIED, 100000).size(), 5000u);
  for (int n = 0; n < 300; ++n) shown.publish(operation(std::to_string(n), true));
  EXPECT_EQ(shown.operations().size(), 200u);
  EXPECT_FALSE(shown.operation("0"));
  EXPECT_TRUE(shown.operation("299"));
}

TEST_F(host_board, reads_the_newest_log_lines_oldest_first) {
  shown.publish(line("a", "1"));
  shown.publish(line("b", "2", v1::EVENT_SEVERITY_ERROR));
  shown.publish(line("a", "3", v1::EVENT_SEVERITY_WARNING));
  shown.publish(line("a", "4"));
  const auto texts = [&](const std::string& server, v1::EventSeverity least, std::size_t limit) {
    std::string all;
    for (const auto& one : shown.log(server, least, limit)) all += one.text();
    return all;
  };
  EXPECT_EQ(texts("", v1::EVENT_SEVERITY_UNSPECIFIED, 3), "234");
  EXPECT_EQ(texts("a", v1::EVENT_SEVERITY_UNSPECIFIED, 10), "134");
  EXPECT_EQ(texts("", v1::EVENT_SEVERITY_WARNING, 10), "23");
}

TEST_F(host_board, wakes_a_waiting_follower) {
  const follower f = shown.subscribe({});
  all_of(f);
  std::thread later([&] { shown.publish(event(1, "a")); });
  EXPECT_TRUE(f->next(steady_clock::now() + enough));
  later.join();
}

TEST_F(host_board, a_closed_board_ends_followers_for_good) {
  const follower f = shown.subscribe({});
  std::thread later([&] { shown.close(); });
  while (f->next(steady_clock::now() + enough)) {
  }
  EXPECT_TRUE(f->closed());
  later.join();
  shown.publish(event(1, "a"));
  EXPECT_FALSE(f->next(steady_clock::now() + enough)) << "nothing for good";
  EXPECT_TRUE(shown.subscribe({})->closed()) << "nobody follows a board that is closed";
}

TEST_F(host_board, waits_for_an_operations_end) {
  shown.publish(operation("o", false));
  EXPECT_FALSE(shown.wait_operation("o", steady_clock::now())->done());
  EXPECT_FALSE(shown.wait_operation("unknown", steady_clock::now() + enough));
  std::thread later([&] {
    shown.publish(operation("another", true));
    shown.publish(operation("o", true));
  });
  EXPECT_TRUE(shown.wait_operation("o", steady_clock::now() + enough)->done());
  later.join();
}

TEST_F(host_board, closing_ends_the_wait_for_an_operation) {
  shown.publish(operation("o", false));
  const auto begun = steady_clock::now();
  std::thread later([&] { shown.close(); });
  EXPECT_FALSE(shown.wait_operation("o", begun + enough)->done());
  EXPECT_LT(steady_clock::now() - begun, enough / 2);
  later.join();
}

// The arbiter and self health write different fields of the host's state from different threads.
TEST_F(host_board, writers_of_the_hosts_state_do_not_undo_each_other) {
  std::thread one([&] {
    for (int n = 0; n < 2000; ++n)
      shown.update_host([&](v1::HostState& host) { host.set_standing_in_for(std::to_string(n)); });
  });
  for (int n = 0; n < 2000; ++n)
    shown.update_host([&](v1::HostState& host) { host.set_reason(std::to_string(n)); });
  one.join();
  EXPECT_EQ(shown.host().standing_in_for(), "1999");
  EXPECT_EQ(shown.host().reason(), "1999");
}

}  // namespace
}  // namespace understudy::api
