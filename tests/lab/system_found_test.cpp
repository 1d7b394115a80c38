// Databases that nobody named, which are copied as databases and as nothing else; and one that went bad.

#include <signal.h>

#include <filesystem>
#include <fstream>

#include "tests/lab/system_fixture.hpp"
#include "tests/support/sqlite_shell.hpp"

namespace understudy::test {
namespace {

class system_found : public system_test {
 protected:
  const std::string files_ = counter_application().files;
  const std::string pattern_ = "[[database]]\ncatalog = \"tenant-*\"\npath = \"" + files_ + "/*.db\"\n";

  void make(const std::string& name) {
    const std::string file = site->on_primary(files_ + "/" + name).string();
    ASSERT_TRUE(through_sqlite(file, "PRAGMA journal_mode=WAL; CREATE TABLE t(x); INSERT INTO t VALUES(1)"));
  }
  v1::CopyStatus copy_named(const std::string& catalog) {
    const auto state = site->state();
    if (!state) return {};
    for (const auto& one : state->databases()) {
      if (one.name() == catalog) return one;
    }
    return {};
  }
  bool in_step(const std::string& catalog) {
    return wait_until([&] { return copy_named(catalog).phase() == v1::COPY_PHASE_STREAMING; }, 20s);
  }
};

TEST_F(system_found, is_protected_by_itself_and_never_travels_as_a_file) {
  protect({}, true, {.agent_more = pattern_});
  make("one.db");
  const auto begun = std::chrono::steady_clock::now();
  ASSERT_TRUE(in_step("tenant-one")) << site->ctl({"status", "primary"}).output;
  std::printf("protected after %.0f ms\n",
              std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begun).count());
  ASSERT_TRUE(in_step("counter"));
  write_document("note.txt", "hello");
  make("two.db");
  ASSERT_TRUE(in_step("tenant-two"));
  ASSERT_TRUE(wait_until([&] { return copy_has_document("note.txt"); }, 20s));

  // An operator's word is kept.
  site->must({"server", "set", "primary", "ignore_found_databases=tenant-th*"});
  make("three.db");
  ASSERT_TRUE(wait_until(
      [&] { return site->agent().log().find("found " + files_ + "/three.db") != std::string::npos; }, 20s));
  write_document("later.txt", "hello");
  ASSERT_TRUE(wait_until([&] { return copy_has_document("later.txt"); }, 20s));
  EXPECT_EQ(copy_named("tenant-three").name(), "");
  EXPECT_FALSE(copy_has_document("three.db"));
  // Nothing is said of what was not looked at yet.
  EXPECT_THAT(site->agent().log(), testing::Not(testing::HasSubstr("by scans only")));
  EXPECT_THAT(site->agent().log(), testing::Not(testing::HasSubstr("there is no such database yet\n")));
}

// Whatever was protected before goes on: neither its streams nor the supervisor begin anew.
TEST_F(system_found, does_not_interrupt_what_is_protected_already) {
  protect({}, true, {.agent_more = pattern_});
  ASSERT_TRUE(site->wait_in_step());
  const auto said = [&](const std::string& text) {
    const std::string log = site->host_daemon().log();
    int times = 0;
    for (auto at = log.find(text); at != std::string::npos; at = log.find(text, at + 1)) ++times;
    return times;
  };
  const std::vector<std::string> begins{"counter is in step", files_ + " is in step",
                                        "the agent is connected"};
  for (const auto& text : begins) ASSERT_EQ(said(text), 1) << text;
  commit_client& client = client_at(site->service_address());
  constexpr int databases = 20;
  double longest_ms = 0;
  for (int i = 0; i < databases; ++i) {
    const auto begun = std::chrono::steady_clock::now();
    make("many" + std::to_string(i) + ".db");
    ASSERT_TRUE(in_step("tenant-many" + std::to_string(i))) << i;
    longest_ms =
        std::max(longest_ms,
                 std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begun).count());
  }
  EXPECT_EQ(said("taken in, for its agent has found it"), databases);
  std::printf("each of %d databases in step after %.0f ms at most, beside %zu commits\n", databases,
              longest_ms, client.confirmed_count());
  for (const auto& text : begins) EXPECT_EQ(said(text), 1) << text;
  EXPECT_EQ(said("tenant-many0 is in step"), 1);

  // The stand-in has what came in this way.
  client.stop();
  site->must({"failover", "primary", "--yes"});
  ASSERT_TRUE(serves(site->service_address()));
  EXPECT_EQ(missing(client.confirmed(), ids_of_copy()), std::vector<std::string>{});
  EXPECT_EQ(copy_named("tenant-many0").size_bytes(),
            std::filesystem::file_size(site->copy_of(files_ + "/many0.db")));
  EXPECT_THAT(site->ctl({"explain", "primary"}).output,
              testing::ContainsRegex("TakingOver\\(start_application\\) .* ok"));
  for (const char* name : {"many0.db", "many19.db"})
    EXPECT_EQ(query(site->copy_of(files_ + "/" + name), "SELECT x FROM t"), std::vector<std::string>{"1"});
}

// As many as a server may have, through the whole pair: all in step, and all there after the takeover.
TEST_F(system_found, a_thousand_are_protected_and_taken_over) {
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
  constexpr int databases = 200;  // ten times as slow, each
#else
  constexpr int databases = 1000;
#endif
  constexpr auto patience = 120s;  // of a slow machine; a few seconds here
  protect({}, true, {.agent_more = pattern_});
  const auto resident_mib = [](int pid) {
    std::ifstream status("/proc/" + std::to_string(pid) + "/status");
    std::string word;
    long kib = 0;
    while (status >> word && word != "VmRSS:") {
    }
    status >> kib;
    return kib / 1024;
  };
  const long host_before = resident_mib(site->host_daemon().pid());
  const long agent_before = resident_mib(site->agent().pid());
  make("many0.db");
  const std::string first = site->on_primary(files_ + "/many0.db").string();
  ASSERT_TRUE(through_sqlite(first, "PRAGMA wal_checkpoint(TRUNCATE)"));
  const auto begun = std::chrono::steady_clock::now();
  for (int i = 1; i < databases; ++i)
    std::filesystem::copy_file(first, site->on_primary(files_ + "/many" + std::to_string(i) + ".db"));
  ASSERT_TRUE(site->wait_state(
      [](const v1::ServerState& now) {
        return now.databases_size() == databases + 1 &&
               std::all_of(now.databases().begin(), now.databases().end(),
                           [](const auto& one) { return one.phase() == v1::COPY_PHASE_STREAMING; });
      },
      patience));
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begun;
  std::printf("%d databases in step after %.1f s; host %ld MiB (%ld before), agent %ld MiB (%ld before)\n",
              databases, took.count(), resident_mib(site->host_daemon().pid()), host_before,
              resident_mib(site->agent().pid()), agent_before);
  ASSERT_TRUE(through_sqlite(first, "INSERT INTO t VALUES(2)"));
  const auto ordered = std::chrono::steady_clock::now();
  site->must({"failover", "primary", "--yes"}, patience);
  ASSERT_TRUE(serves(site->service_address()));
  std::printf("taken over after %.1f s\n",
              std::chrono::duration<double>(std::chrono::steady_clock::now() - ordered).count());
  EXPECT_EQ(query(site->copy_of(files_ + "/many0.db"), "SELECT x FROM t"),
            (std::vector<std::string>{"1", "2"}));
  for (int i = 1; i < databases; i += 37)
    EXPECT_EQ(query(site->copy_of(files_ + "/many" + std::to_string(i) + ".db"), "SELECT x FROM t"),
              std::vector<std::string>{"1"});
}

// Made while the host's daemon is away: found when it is back.
TEST_F(system_found, is_protected_when_the_host_comes_back) {
  protect({}, true, {.agent_more = pattern_});
  site->host_daemon().signal(SIGKILL);
  site->host_daemon().wait();
  make("one.db");
  site->start_host();
  ASSERT_TRUE(in_step("tenant-one")) << site->ctl({"status", "primary"}).output;
}

// One that cannot be copied holds up no takeover, and one that is gone on a primary that is new holds up no
// failback: it comes back with it.
TEST_F(system_found, holds_up_neither_takeover_nor_failback) {
  protect({}, true, {.agent_more = pattern_});
  make("one.db");
  ASSERT_TRUE(in_step("tenant-one"));
  std::ofstream(site->on_primary(files_ + "/bad.db")) << "SQLite format 3 it is not";
  ASSERT_TRUE(wait_until([&] { return copy_named("tenant-bad").name() != ""; }, 20s));
  ASSERT_TRUE(in_step("tenant-one"));
  ASSERT_TRUE(in_step("counter"));
  site->power_off();
  ASSERT_TRUE(site->wait_phase("StandingIn")) << site->logs();
  ASSERT_TRUE(serves(site->service_address()));
  ASSERT_EQ(ask(site->service_address(), "add during"), "ok 1");
  ASSERT_TRUE(through_sqlite(site->copy_of(files_ + "/one.db"), "INSERT INTO t VALUES(2)"));
  std::filesystem::remove_all(site->on_primary(files_ + "/one.db"));
  std::filesystem::remove_all(site->on_primary(files_ + "/one.db-wal"));
  std::filesystem::remove_all(site->on_primary(files_ + "/one.db-shm"));
  power_on_and_meet();
  site->must({"failback", "primary", "--discard-primary", "--yes"});
  ASSERT_TRUE(serves(site->service_address()));
  EXPECT_EQ(query(site->on_primary(files_ + "/one.db"), "SELECT x FROM t"),
            (std::vector<std::string>{"1", "2"}));
  ASSERT_TRUE(in_step("tenant-one"));
  ASSERT_TRUE(in_step("counter"));

  // Gone while everything runs: the copy stays, and nothing is behind for it.
  for (const char* suffix : {"", "-wal", "-shm"})
    std::filesystem::remove(site->on_primary(files_ + "/one.db" + suffix));
  ASSERT_TRUE(wait_until([&] { return copy_named("tenant-one").phase() == v1::COPY_PHASE_STOPPED; }, 20s));
  EXPECT_THAT(copy_named("tenant-one").reason(), testing::HasSubstr("the copy is kept"));
  std::filesystem::remove(site->on_primary(files_ + "/bad.db"));
  const ctl_result verified = site->ctl({"verify", "primary"});
  EXPECT_EQ(verified.exit, 0) << verified.error;
  EXPECT_THAT(verified.output + verified.error, testing::HasSubstr("it is gone on the primary"));
  site->must({"failover", "primary", "--yes"});
  ASSERT_TRUE(site->wait_phase("StandingIn"));
  EXPECT_EQ(query(site->copy_of(files_ + "/one.db"), "SELECT x FROM t"),
            (std::vector<std::string>{"1", "2"}));
}

// Made while this host stood in, by whatever the application does there: it goes to the primary with
// everything else, and is protected from then on.
TEST_F(system_found, what_the_stand_in_made_goes_to_the_primary) {
  protect({}, true, {.agent_more = pattern_});
  make("one.db");
  make("both.db");
  ASSERT_TRUE(in_step("tenant-one"));
  ASSERT_TRUE(in_step("tenant-both"));
  site->must({"server", "set", "primary", "ignore_found_databases=tenant-not*"});
  ASSERT_TRUE(in_step("tenant-one"));
  ASSERT_TRUE(in_step("counter"));
  site->must({"failover", "primary", "--yes"});
  ASSERT_TRUE(serves(site->service_address()));
  const auto here = [&](const std::string& name) { return site->copy_of(files_ + "/" + name).string(); };
  const std::string table = "PRAGMA journal_mode=WAL; CREATE TABLE t(x); INSERT INTO t VALUES(7)";
  for (const char* name : {"new.db", "not.db", "clash.db"}) ASSERT_TRUE(through_sqlite(here(name), table));
  std::ofstream(here("junk.db")) << "no database";
  std::ofstream(here("bad.db")) << "SQLite format 3 it is not";
  std::ofstream(here("empty.db")).flush();
  std::ofstream(here("bad\xff.db")) << "SQLite format 3 and more";
  std::filesystem::create_symlink("/etc/passwd", here("link.db"));
  ASSERT_TRUE(through_sqlite((site->failover().root() / "elsewhere.db").string(), table));
  std::filesystem::create_symlink(site->failover().root() / "elsewhere.db", here("way-out.db"));
  for (const char* suffix : {"", "-wal", "-shm"}) std::filesystem::remove(here("one.db") + suffix);
  // The primary's application is stopped, but somebody there makes one of the same name.
  make("clash.db");
  ASSERT_TRUE(wait_until(
      [&] { return site->agent().log().find("found " + files_ + "/clash.db") != std::string::npos; }, 20s));

  const ctl_result refused = site->ctl({"failback", "primary", "--yes"});
  EXPECT_NE(refused.exit, 0);
  EXPECT_THAT(refused.output + refused.error, testing::HasSubstr("tenant-clash"));
  ASSERT_TRUE(site->wait_phase("StandingIn"));
  site->must({"failback", "primary", "--discard-primary", "--yes"});
  ASSERT_TRUE(serves(site->service_address()));
  const auto rows = [&](const std::string& name) {
    return query(site->on_primary(files_ + "/" + name), "SELECT x FROM t");
  };
  EXPECT_EQ(rows("new.db"), std::vector<std::string>{"7"});
  EXPECT_EQ(rows("clash.db"), std::vector<std::string>{"7"});
  EXPECT_EQ(rows("one.db"), std::vector<std::string>{"1"});
  EXPECT_EQ(rows("both.db"), std::vector<std::string>{"1"});
  for (const char* name : {"not.db", "junk.db", "bad.db", "empty.db", "link.db", "way-out.db"})
    EXPECT_FALSE(std::filesystem::exists(site->on_primary(files_ + "/" + name))) << name;
  const std::string told = site->ctl({"events", "primary"}).output;
  for (const char* text : {"/new.db", "/clash.db", "not.db (ignore_found_databases)", "/junk.db (",
                           "/bad.db (", "/empty.db (", "/way-out.db (a symlink", "not UTF-8",
                           "deleted by the stand-in, and not on the primary", "set aside there"})
    EXPECT_THAT(told, testing::HasSubstr(text));
  ASSERT_TRUE(in_step("tenant-new"));
  ASSERT_TRUE(in_step("tenant-clash"));
  ASSERT_TRUE(through_sqlite(site->on_primary(files_ + "/new.db"), "INSERT INTO t VALUES(8)"));
  EXPECT_TRUE(wait_until(
      [&] {
        return query(here("new.db"), "SELECT x FROM t") == (std::vector<std::string>{"7", "8"});
      },
      10s));

  // What stayed here is none of the next stand-in's doing.
  site->must({"failover", "primary", "--yes"});
  site->must({"stop-failover", "primary", "--yes"});
  ASSERT_TRUE(through_sqlite(here("late.db"), table));
  site->must({"replicate", "to-live", "primary", "--yes"});
  EXPECT_EQ(rows("late.db"), std::vector<std::string>{"7"});
  ASSERT_TRUE(in_step("tenant-late"));
  EXPECT_FALSE(std::filesystem::exists(site->on_primary(files_ + "/bad.db")));
}

// A page of the primary's file that is not as it was committed: told once, and not copied.
TEST_F(system_found, damage_on_the_primary_is_an_event) {
  protect();
  ASSERT_TRUE(site->wait_in_step());
  const std::string file = site->on_primary(site->options().application.database).string();
  ASSERT_TRUE(through_sqlite(file, "PRAGMA wal_checkpoint(TRUNCATE)"));
  {
    constexpr std::streamoff middle_of_page_2 = 4096 + 2048;
    std::fstream database(file, std::ios::binary | std::ios::in | std::ios::out);
    database.seekg(middle_of_page_2);
    const char was = static_cast<char>(database.get());
    database.seekp(middle_of_page_2);
    database.put(static_cast<char>(was ^ 0x55));
  }
  site->ctl({"verify", "primary"});
  ASSERT_TRUE(site->wait_event("database_damaged", 20s));
  EXPECT_THAT(site->event("database_damaged")->text(), testing::HasSubstr("counter: 1 page"));
}

}  // namespace
}  // namespace understudy::test
