// Mode configuration: one table of the application's database follows in real time, the rest is as of the
// last daily copy, also for the stand-in; and what the primary has besides is not overwritten without a word.

#include <fmt/core.h>

#include <future>

#include "tests/lab/system_fixture.hpp"

namespace understudy::test {
namespace {

using testing::HasSubstr;

class system_configuration : public system_test {
 protected:
  void protect_entries() {
    protect({}, true, {.mode = "configuration", .configuration_tables = {"Entry"}});
    on_primary(
        "CREATE TABLE call(id INTEGER PRIMARY KEY, what TEXT); INSERT INTO call(what) VALUES('before')");
    site->must({"replicate", "from-live", "primary", "--yes"});
  }
  std::vector<std::string> on_primary(const std::string& sql) {
    return query(site->on_primary(site->options().application.database), sql);
  }
  std::vector<std::string> in_copy(const std::string& sql) {
    return query(site->copy_of(site->options().application.database), sql);
  }
  bool copy_has_entries(std::size_t count) {
    return wait_until([&] { return ids_of_copy().size() == count; }, 10s, 10ms);
  }
};

TEST_F(system_configuration, named_tables_follow_and_the_others_wait_for_the_day) {
  protect_entries();
  const std::string address = site->service_address();
  for (int i = 1; i <= 5; ++i) {
    ASSERT_EQ(ask(address, fmt::format("add id-{}", i)), fmt::format("ok {}", i));
    on_primary(
        fmt::format("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<{}) "
                    "INSERT INTO call(what) SELECT hex(randomblob(2000)) FROM n",
                    i));
  }
  ASSERT_TRUE(copy_has_entries(5));
  EXPECT_EQ(in_copy("SELECT count(*) FROM call"), std::vector<std::string>{"1"});
  EXPECT_EQ(in_copy("PRAGMA integrity_check"), std::vector<std::string>{"ok"});
  // What a heal brings, after a gap or before the stream runs, has no transactions to save: there are always
  // more.
  EXPECT_TRUE(wait_until(
      [&] {
        on_primary("INSERT INTO call(what) SELECT hex(randomblob(2000)) FROM call LIMIT 15");
        const auto s = site->state();
        return s && s->databases_size() == 1 && s->databases(0).tables_size() == 1 &&
               s->databases(0).tables_saved_bytes() > 50'000 && s->databases(0).tables_received_bytes() > 0;
      },
      20s, 100ms));
  EXPECT_EQ(in_copy("SELECT count(*) FROM call"), std::vector<std::string>{"1"});
  EXPECT_THAT(site->must({"status", "primary"}), HasSubstr("in real time Entry; the rest daily"));

  // The daily copy brings the rest. The named table goes on meanwhile, and never back.
  auto daily = std::async(std::launch::async, [&] {
    return site->ctl({"replicate", "from-live", "primary", "--yes"}).exit;
  });
  std::size_t rows = 5;
  int next = 6;
  do {
    ASSERT_EQ(ask(address, fmt::format("add id-{}", next)), fmt::format("ok {}", next));
    ++next;
    std::size_t now = rows;
    try {
      now = ids_of_copy().size();
    } catch (const std::exception& locked) {  // the exchange keeps everybody out for a moment
      ASSERT_THAT(locked.what(), HasSubstr("locked"));
    }
    ASSERT_GE(now, rows);
    rows = now;
  } while (daily.wait_for(0s) != std::future_status::ready);
  ASSERT_EQ(daily.get(), 0);
  EXPECT_EQ(in_copy("SELECT count(*) FROM call"), on_primary("SELECT count(*) FROM call"));
  ASSERT_TRUE(copy_has_entries(static_cast<std::size_t>(next) - 1));

  // A daemon that was killed finds what it had, and goes on.
  site->host_daemon().signal(SIGKILL);
  site->start_host();
  EXPECT_EQ(ids_of_copy().size(), static_cast<std::size_t>(next) - 1);
  ASSERT_EQ(ask(address, "add last"), fmt::format("ok {}", next));
  ASSERT_TRUE(copy_has_entries(static_cast<std::size_t>(next)));
}

TEST_F(system_configuration, a_stand_in_has_the_named_table_and_the_way_back_is_asked_about) {
  protect_entries();
  commit_client& client = client_at(site->service_address());
  ASSERT_TRUE(client.wait_confirmed(20, wall_clock::now(), 10s));
  on_primary("INSERT INTO call(what) VALUES('only the primary has this')");
  ASSERT_TRUE(site->wait_state(
      [](const v1::ServerState& s) {
        return s.databases_size() == 1 && s.databases(0).phase() == v1::COPY_PHASE_STREAMING;
      },
      10s));
  site->power_off();
  ASSERT_TRUE(site->wait_phase("StandingIn", 15s));
  ASSERT_TRUE(serves(site->service_address()));
  ASSERT_TRUE(client.wait_confirmed(5, wall_clock::now(), 10s));
  client.stop();
  EXPECT_EQ(in_copy("SELECT what FROM call"), std::vector<std::string>{"before"});

  power_on_and_meet();
  const auto asked = site->ctl({"failback", "primary", "--yes"});
  EXPECT_NE(asked.exit, 0);
  EXPECT_THAT(asked.output + asked.error, HasSubstr("--discard-primary"));
  site->must({"failback", "primary", "--discard-primary", "--yes"});
  ASSERT_TRUE(serves(site->service_address()));
  EXPECT_EQ(on_primary("SELECT what FROM call"), std::vector<std::string>{"before"});
}

TEST_F(system_configuration, a_planned_switchover_brings_everything) {
  protect_entries();
  ASSERT_EQ(ask(site->service_address(), "add id-1"), "ok 1");
  on_primary("INSERT INTO call(what) VALUES('of today')");
  site->must({"failover", "primary", "--yes"});
  ASSERT_TRUE(serves(site->service_address()));
  EXPECT_EQ(in_copy("SELECT what FROM call ORDER BY id"), (std::vector<std::string>{"before", "of today"}));
  EXPECT_EQ(ids_of_copy().size(), 1u);
  ASSERT_EQ(ask(site->service_address(), "add id-2"), "ok 2");
  // Nothing on the primary that the stand-in does not have: nobody is asked.
  site->must({"failback", "primary", "--yes"});
  ASSERT_TRUE(serves(site->service_address()));
  EXPECT_EQ(ids_of_primary().size(), 2u);
  ASSERT_EQ(ask(site->service_address(), "add id-3"), "ok 3");
  ASSERT_TRUE(copy_has_entries(3));
}

}  // namespace
}  // namespace understudy::test
