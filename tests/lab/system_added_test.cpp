// A database that is added to a server that is protected already, and of which there is no copy yet.

#include <signal.h>

#include <filesystem>

#include "tests/lab/system_fixture.hpp"
#include "tests/support/sqlite_shell.hpp"

namespace understudy::test {
namespace {

using testing::HasSubstr;

constexpr const char* none_there = "second: there is none on the primary: there is no such file yet";

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
  void add_second(const std::string& mode = "all") {
    protect({"--set", "databases=[" + entry("counter", counter_) + "]"}, true,
            {.mode = mode, .agent_more = "[[database]]\ncatalog = \"second\"\npath = \"" + second_ + "\"\n"});
    site->must({"server", "set", "primary",
                "databases=[" + entry("counter", counter_) + "," + entry("second", second_) + "]"});
  }
  // A piece of it is there, which is looked for where it grows: the power goes long before the rest is.
  void wait_for_a_piece_of_second() {
    const std::string unfinished = site->copy_of(second_).string() + "-unfinished";
    ASSERT_TRUE(wait_until(
        [&] {
          std::error_code absent;
          const auto size = std::filesystem::file_size(unfinished, absent);
          return !absent && size > 0;
        },
        20s, 1ms));
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
  ASSERT_TRUE(warns(none_there));
  EXPECT_THAT(site->ctl({"explain", "primary"}).output, HasSubstr(none_there));

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
  ASSERT_TRUE(warns(none_there));
  take_over_without_it();
  power_on_and_meet();
  site->must({"failback", "primary", "--yes"});
  ASSERT_TRUE(serves(site->service_address()));
  EXPECT_EQ(rows(site->on_primary(second_)), std::vector<std::string>{"7"});
  ASSERT_TRUE(second_in_step()) << site->ctl({"status", "primary"}).output;
  EXPECT_EQ(rows(site->copy_of(second_)), std::vector<std::string>{"7"});
}

TEST_F(system_added, in_the_middle_of_its_first_copy_the_rest_is_taken_over) {
  protect({"--set", "databases=[" + entry("counter", counter_) + "]"}, true,
          {.agent_more = "[[database]]\ncatalog = \"second\"\npath = \"" + second_ + "\"\n"});
  ASSERT_TRUE(make(site->on_primary(second_), "1"));
  ASSERT_TRUE(
      through_sqlite(site->on_primary(second_).string(),
                     "CREATE TABLE big(x); WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n "
                     "WHERE i<200) INSERT INTO big SELECT randomblob(1000000) FROM n"));
  site->must({"server", "set", "primary",
              "databases=[" + entry("counter", counter_) + "," + entry("second", second_) + "]"});
  wait_for_a_piece_of_second();
  take_over_without_it();
  EXPECT_FALSE(std::filesystem::exists(site->copy_of(second_).string() + "-unfinished"));

  power_on_and_meet();
  site->must({"failback", "primary", "--yes"});
  ASSERT_TRUE(serves(site->service_address()));
  EXPECT_THAT(ids_of_primary(), testing::Contains("during"));
  EXPECT_EQ(rows(site->on_primary(second_)), std::vector<std::string>{"1"});
  ASSERT_TRUE(second_in_step()) << site->ctl({"status", "primary"}).output;
  EXPECT_EQ(rows(site->copy_of(second_)), std::vector<std::string>{"1"});
  EXPECT_EQ(query(site->copy_of(second_), "SELECT count(*), sum(length(x)) FROM big"),
            std::vector<std::string>{"200"});
  EXPECT_EQ(query(site->copy_of(second_), "PRAGMA quick_check"), std::vector<std::string>{"ok"});
}

// What the primary does not have, or no longer has, fails no generation of the rest, and is told once.
TEST_F(system_added, that_is_not_there_leaves_the_others_their_generations) {
  add_second("warm");
  const std::string without = site->must({"replicate", "from-live", "primary", "--yes"});
  EXPECT_THAT(without, HasSubstr("without second (there is none on the primary"));
  ASSERT_TRUE(warns(none_there));
  const auto told = site->event("replication_failed");
  ASSERT_TRUE(told);
  EXPECT_THAT(told->text(), HasSubstr(none_there));

  ASSERT_TRUE(make(site->on_primary(second_), "1"));
  site->must({"replicate", "from-live", "primary", "--yes"});
  EXPECT_EQ(rows(site->copy_of(second_)), std::vector<std::string>{"1"});
  EXPECT_THAT(site->ctl({"status", "primary"}).output, testing::Not(HasSubstr(none_there)));

  ASSERT_EQ(ask(site->service_address(), "add today"), "ok 1");
  for (const char* suffix : {"", "-wal", "-shm"})
    std::filesystem::remove(site->on_primary(second_).string() + suffix);
  const std::string gone = "second: it is gone on the primary; the copy is kept";
  for (int day = 0; day < 2; ++day) {
    site->must({"replicate", "from-live", "primary", "--yes"});
    EXPECT_THAT(ids_of_copy(), testing::Contains("today"));
    EXPECT_EQ(rows(site->copy_of(second_)), std::vector<std::string>{"1"});
    ASSERT_TRUE(warns(gone));
  }
  std::vector<std::string> events;
  for (const v1::Event& event : site->events()) {
    if (event.kind() == "replication_failed") events.push_back(event.text());
  }
  EXPECT_THAT(events, testing::UnorderedElementsAre(HasSubstr(none_there), HasSubstr(gone)));

  // Another one takes its place: the former is kept as any other.
  ASSERT_TRUE(make(site->on_primary(second_), "9"));
  site->must({"replicate", "from-live", "primary", "--yes"});
  EXPECT_EQ(rows(site->copy_of(second_)), std::vector<std::string>{"9"});
  std::vector<std::string> kept;
  const auto earlier = site->failover().root() / "var/lib/understudy/servers/primary/generations";
  for (const auto& file : std::filesystem::recursive_directory_iterator(earlier)) {
    if (file.path().filename() == "second.db") kept = rows(file.path());
  }
  EXPECT_EQ(kept, std::vector<std::string>{"1"});
}

}  // namespace
}  // namespace understudy::test
