// A database that is added to a server that is protected already, and of which there is no copy yet.

#include <signal.h>

#include <filesystem>

#include "tests/lab/system_fixture.hpp"
#include "tests/support/sqlite_shell.hpp"

namespace understudy::test {
namespace {

using testing::HasSubstr;

class system_added : public system_test {
 protected:
  const std::string counter_ = counter_application().database;
  const std::string second_ = std::filesystem::path(counter_).parent_path() / "second.db";

  static std::string entry(const std::string& catalog, const std::string& path) {
    return R"({"catalog":")" + catalog + R"(","path":")" + path + R"("})";
  }
  static bool make(const std::filesystem::path& file, const std::string& value) {
    const std::string sql = "CREATE TABLE t(x); INSERT INTO t VALUES(" + value + ")";
    return through_sqlite(file.string(), "PRAGMA journal_mode=WAL; " + sql).has_value();
  }
  static std::vector<std::string> rows(const std::filesystem::path& file) {
    return query(file, "SELECT x FROM t");
  }
  bool warns(const std::string& text) {
    return site->wait_state(
        [&](const v1::ServerState& now) {
          return now.is_protected() &&
                 std::any_of(now.warnings().begin(), now.warnings().end(),
                             [&](const auto& one) { return one.find(text) != std::string::npos; });
        },
        20s);
  }
  // The server is protected, and the agent waits for the application to make the second database.
  void add_second() {
    protect({"--set", "databases=[" + entry("counter", counter_) + "]"}, true,
            {.agent_more = "[[database]]\ncatalog = \"second\"\npath = \"" + second_ + "\"\n"});
    site->must({"server", "set", "primary",
                "databases=[" + entry("counter", counter_) + "," + entry("second", second_) + "]"});
  }
  void take_over_without_it() {
    site->power_off();
    ASSERT_TRUE(site->wait_phase("StandingIn")) << site->logs();
    ASSERT_TRUE(serves(site->service_address()));
    ASSERT_EQ(ask(site->service_address(), "add during"), "ok 1");
    EXPECT_THAT(site->ctl({"events", "primary"}).output, HasSubstr("goes without second"));
    ASSERT_TRUE(warns("the stand-in goes without it"));
    // Its application makes one of its own, and whoever ends the failback was not there at its beginning.
    ASSERT_TRUE(make(site->copy_of(second_), "7"));
    site->host_daemon().signal(SIGKILL);
    site->host_daemon().wait();
    site->start_host();
    ASSERT_TRUE(site->wait_phase("StandingIn"));
  }
  bool second_in_step() {
    return site->wait_state(
        [](const v1::ServerState& now) {
          return std::any_of(now.databases().begin(), now.databases().end(), [](const auto& one) {
            return one.name() == "second" && one.phase() == v1::COPY_PHASE_STREAMING;
          });
        },
        20s);
  }
};

TEST_F(system_added, leaves_the_rest_protected_and_the_primarys_own_as_it_is) {
  add_second();
  ASSERT_TRUE(warns("second is copied for the first time"));
  EXPECT_THAT(site->ctl({"explain", "primary"}).output, HasSubstr("second is copied for the first time"));

  // Whoever has the time to plan has the time to wait: the primary goes on.
  const ctl_result planned = site->ctl({"failover", "primary", "--yes"});
  EXPECT_NE(planned.exit, 0);
  EXPECT_THAT(planned.output + planned.error, HasSubstr("not everything is copied yet, second"));
  EXPECT_FALSE(site->event("takeover_blocked").has_value());
  ASSERT_TRUE(serves(site->service_address()));

  take_over_without_it();
  ASSERT_TRUE(make(site->on_primary(second_), "1"));
  power_on_and_meet();
  site->must({"failback", "primary", "--yes"});
  ASSERT_TRUE(serves(site->service_address()));
  EXPECT_EQ(rows(site->on_primary(second_)), std::vector<std::string>{"1"});
  EXPECT_THAT(ids_of_primary(), testing::Contains("during"));
  EXPECT_THAT(site->ctl({"events", "primary"}).output,
              HasSubstr("without a copy at the takeover, and left as the primary has it: " + second_));

  ASSERT_TRUE(second_in_step()) << site->ctl({"status", "primary"}).output;
  EXPECT_EQ(rows(site->copy_of(second_)), std::vector<std::string>{"1"});
  std::vector<std::string> kept;
  const auto aside = site->failover().root() / "var/lib/understudy/servers/primary/set-aside";
  for (const auto& made : std::filesystem::recursive_directory_iterator(aside)) {
    if (made.path().filename() == "second.db") kept = rows(made.path());
  }
  EXPECT_EQ(kept, std::vector<std::string>{"7"});

  // Now it is as protected as any other.
  site->must({"failover", "primary", "--yes"});
  ASSERT_TRUE(site->wait_phase("StandingIn"));
  EXPECT_EQ(rows(site->copy_of(second_)), std::vector<std::string>{"1"});
}

// Nothing of the primary's is in its way there.
TEST_F(system_added, goes_to_a_primary_that_has_none) {
  add_second();
  ASSERT_TRUE(warns("second is copied for the first time"));
  take_over_without_it();
  power_on_and_meet();
  site->must({"failback", "primary", "--yes"});
  ASSERT_TRUE(serves(site->service_address()));
  EXPECT_EQ(rows(site->on_primary(second_)), std::vector<std::string>{"7"});
  ASSERT_TRUE(second_in_step()) << site->ctl({"status", "primary"}).output;
  EXPECT_EQ(rows(site->copy_of(second_)), std::vector<std::string>{"7"});
}

}  // namespace
}  // namespace understudy::test
