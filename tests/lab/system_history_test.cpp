// Somebody deletes everything, and it is had back as it was a moment before, while the copy follows the
// primary.

#include <fmt/core.h>

#include "tests/lab/system_fixture.hpp"

namespace understudy::test {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;

class system_history : public system_test {
 protected:
  // Writes the counter as it was at `when` and returns its ids.
  std::vector<std::string> restored_at(wall_clock::time_point when, const std::string& name) {
    // Private to the failover host, and no copy's.
    const std::string file = "/etc/understudy/" + name;
    site->must({"restore", "primary", "--database", "counter", "--at", utc_text(when), "--to", file});
    const auto outside = site->failover().root() / file.substr(1);
    EXPECT_EQ(query(outside, "PRAGMA integrity_check"), std::vector<std::string>{"ok"});
    return protected_system::counter_ids(outside);
  }
  static std::string utc_text(wall_clock::time_point when) {
    const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(when.time_since_epoch()).count();
    const std::time_t seconds = static_cast<std::time_t>(ms / 1000);
    std::tm utc{};
    ::gmtime_r(&seconds, &utc);
    char text[32];
    std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &utc);
    return fmt::format("{}.{:03}Z", text, ms % 1000);
  }
  // A moment after which everything is newer and before which everything is older, by milliseconds.
  static wall_clock::time_point a_moment() {
    std::this_thread::sleep_for(20ms);
    const auto now = wall_clock::now();
    std::this_thread::sleep_for(20ms);
    return now;
  }
};

TEST_F(system_history, a_moment_before_a_mistake_is_restored_while_replication_goes_on) {
  protect();
  const std::string address = site->service_address();
  for (int i = 1; i <= 5; ++i)
    ASSERT_EQ(ask(address, fmt::format("add good-{}", i)), fmt::format("ok {}", i));
  const auto before = a_moment();
  query(site->on_primary(site->options().application.database), "DELETE FROM entry");
  const auto after = a_moment();
  commit_client& client = client_at(address, "later");
  ASSERT_TRUE(client.wait_confirmed(20, wall_clock::now(), 10s));

  EXPECT_EQ(restored_at(before, "before.db").size(), 5u);
  EXPECT_THAT(restored_at(after, "after.db"), IsEmpty());
  ASSERT_TRUE(client.wait_confirmed(20, wall_clock::now(), 10s));
  const auto late = a_moment();
  client.stop();
  // The agent's clock says when a commit was captured, which is a moment after it was confirmed.
  EXPECT_THAT(missing(client.confirmed(late - 100ms), restored_at(late, "late.db")), IsEmpty());
  EXPECT_THAT(site->must({"restore", "primary", "--list"}), HasSubstr("counter"));

  // What is refused, and why.
  const auto refused = [&](const std::string& at, const std::string& to) {
    const auto result = site->ctl({"restore", "primary", "--database", "counter", "--at", at, "--to", to});
    EXPECT_NE(result.exit, 0);
    return result.error;
  };
  EXPECT_THAT(refused("30d", "/etc/understudy/early.db"), HasSubstr("the history begins at"));
  EXPECT_THAT(refused("1s ago", "/etc/understudy/before.db"), HasSubstr("exists"));
  EXPECT_THAT(refused("1s ago", "/var/lib/understudy/servers/primary/root/x.db"),
              HasSubstr("the copy of primary"));
  EXPECT_THAT(refused("1s ago", "/var/lib/understudy/x.db"), HasSubstr("own data"));
  EXPECT_THAT(refused("1s ago", "/etc/understudy/nowhere/x.db"), HasSubstr("must exist"));

  // A restart of the daemon, and a killed one, leave the past what it is.
  for (const bool killed : {false, true}) {
    SCOPED_TRACE(killed);
    process& daemon = site->host_daemon();
    daemon.signal(killed ? SIGKILL : SIGTERM);
    daemon.wait();
    site->start_host();
    ASSERT_TRUE(site->wait_in_step());
    EXPECT_EQ(restored_at(before, killed ? "again.db" : "anew.db").size(), 5u);
  }
  ASSERT_TRUE(wait_until([&] { return ids_of_copy() == ids_of_primary(); }, 10s, 20ms));
}

TEST_F(system_history, a_stand_in_is_followed_or_ends_the_past_and_it_says_so) {
  protect();
  const std::string address = site->service_address();
  ASSERT_EQ(ask(address, "add one"), "ok 1");
  ASSERT_TRUE(wait_until([&] { return ids_of_copy().size() == 1; }, 10s, 20ms));
  const auto before = a_moment();
  EXPECT_EQ(restored_at(before, "before.db").size(), 1u);
  site->must({"failover", "primary", "--yes"});
  ASSERT_TRUE(serves(address));
  ASSERT_EQ(ask(address, "add two"), "ok 2");
  site->must({"failback", "primary", "--yes"});
  ASSERT_TRUE(serves(address));
  ASSERT_TRUE(site->wait_in_step());
  ASSERT_EQ(ask(address, "add three"), "ok 3");
  ASSERT_TRUE(wait_until([&] { return ids_of_copy().size() == 3; }, 10s, 20ms));
  EXPECT_EQ(restored_at(a_moment(), "after.db").size(), 3u);
  // What the stand-in left in its log is followed like any other commit; what it folded is not, and then the
  // past begins anew.
  if (site->must({"restore", "primary", "--list"}).find("a stand-in ran") == std::string::npos) {
    EXPECT_EQ(restored_at(before, "still.db").size(), 1u);
    return;
  }
  const auto result = site->ctl({"restore", "primary", "--database", "counter", "--at", utc_text(before),
                                 "--to", "/etc/understudy/lost.db"});
  EXPECT_NE(result.exit, 0);
  EXPECT_THAT(result.error, HasSubstr("a stand-in ran"));
}

}  // namespace
}  // namespace understudy::test
