// Daily replication of a server whose databases are at rest in between: when it comes, what it leaves in use
// when it fails, and a takeover while one is under way.

#include <fmt/core.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ctime>
#include <filesystem>
#include <fstream>

#include "common/status/status_text.hpp"
#include "tests/support/host/host_world.hpp"

namespace understudy::test {
namespace {

using testing::Contains;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

class host_daily : public testing::Test {
 protected:
  void SetUp() override {
    p1().spec.set_mode(v1::REPLICATION_MODE_WARM);
    p1().spec.set_daily("03:00 UTC");
    run_sql(p1().primary.database(), "create table if not exists t(x)");
    world_.start(false);
    ASSERT_TRUE(world_.protect()) << world_.operation();
  }
  world_server& p1() { return world_.server(); }
  std::string directory() const { return world_.directory.path() + "/host/servers/p1"; }
  std::string copy() { return directory() + "/root" + p1().primary.database(); }
  std::string rows_of_copy() { return run_sql(copy(), "select x from t"); }
  void add_row(const std::string& text) {
    run_sql(p1().primary.database(), fmt::format("insert into t values('{}')", text));
  }
  // As if the last daily replication had been long ago: one was missed while the daemon was down.
  void miss_one() {
    world_.stop();
    std::ofstream(directory() + "/daily") << "1\n";
    world_.start(false);
  }
  std::vector<std::string> kinds() {
    std::vector<std::string> all;
    for (const auto& event : world_.host->events("p1")) all.push_back(event.kind());
    return all;
  }
  std::vector<std::string> earlier_generations() {
    std::vector<std::string> found;
    std::error_code none;
    for (const auto& entry : std::filesystem::directory_iterator(directory() + "/generations", none))
      found.push_back(entry.path().string());
    return found;
  }

  // 16 MiB for 4096 of them, which no compression makes less.
  static std::string insert_blobs(int count) {
    return fmt::format(
        "with recursive n(i) as (select 1 union all select i + 1 from n where i < {}) "
        "insert into t select randomblob(4000) from n",
        count);
  }
  // The first part of a database's file as a heal that ended there leaves it.
  static void leave_unfinished(const std::string& database, const std::string& place, double share) {
    const auto bytes = static_cast<double>(std::filesystem::file_size(database)) * share;
    std::string pages(static_cast<std::size_t>(bytes) / 4096 * 4096, '\0');
    std::ifstream(database, std::ios::binary).read(pages.data(), static_cast<std::streamsize>(pages.size()));
    std::ofstream(place, std::ios::binary) << pages;
  }

  host_world world_;
};

TEST_F(host_daily, databases_are_at_rest_until_the_missed_one_is_made_up_for) {
  add_row("yesterday");
  ASSERT_TRUE(world_.until([&] { return world_.is("Monitoring"); }));
  EXPECT_THAT(rows_of_copy(), Not(testing::HasSubstr("yesterday")));
  EXPECT_EQ(world_.host->state("p1").databases(0).phase(), v1::COPY_PHASE_STOPPED);
  EXPECT_TRUE(std::filesystem::exists(directory() + "/generation"));
  miss_one();
  ASSERT_TRUE(world_.until([&] { return rows_of_copy().find("yesterday") != std::string::npos; }));
  ASSERT_TRUE(world_.until([&] { return world_.host->state("p1").status() == v1::SERVER_STATUS_OK; }));
  EXPECT_THAT(earlier_generations(), Not(IsEmpty()));
  EXPECT_FALSE(std::filesystem::exists(directory() + "/next/generation"));
  // Done for this day.
  std::int64_t done = 0;
  ASSERT_TRUE(world_.until([&] { return (std::ifstream(directory() + "/daily") >> done) && done > 1; }));
  add_row("today");
  world_.stop();
  world_.start(false);
  ASSERT_TRUE(world_.until([&] { return world_.host->state("p1").agent_connected(); }));
  EXPECT_THAT(rows_of_copy(), Not(testing::HasSubstr("today")));
  EXPECT_THAT(world_.violations(), IsEmpty());
}

// What was committed since the last daily copy is fetched before the primary's application is stopped.
TEST_F(host_daily, a_switchover_loses_nothing) {
  add_row("since then");
  ASSERT_TRUE(world_.until([&] { return world_.is("Monitoring"); }));
  const auto ordered = world_.host->command(world_.command(api::verb::failover));
  ASSERT_TRUE(ordered->status.ok()) << message_of(ordered->status);
  ASSERT_TRUE(world_.until([&] { return world_.is("StandingIn") && !p1().stand_ins().empty(); }))
      << world_.host->state("p1").reason();
  EXPECT_THAT(rows_of_copy(), testing::HasSubstr("since then"));
  EXPECT_FALSE(p1().primary.application_runs());
}

TEST_F(host_daily, a_clock_that_was_ahead_does_not_end_it) {
  world_.stop();
  const auto ahead = std::chrono::system_clock::now() + std::chrono::hours(24 * 365);
  std::ofstream(directory() + "/daily")
      << std::chrono::duration_cast<std::chrono::milliseconds>(ahead.time_since_epoch()).count() << "\n";
  world_.start(false);
  ASSERT_TRUE(world_.until([&] {
    std::int64_t done = 0;
    if (!(std::ifstream(directory() + "/daily") >> done)) return false;
    return std::chrono::milliseconds(done) <= std::chrono::system_clock::now().time_since_epoch();
  }));
}

TEST_F(host_daily, a_damaged_primary_does_not_replace_the_good_copy) {
  run_sql(p1().primary.database(),
          "create table u(a, b); create index by_a on u(a); create index by_b on u(b);"
          "insert into u values(1, 2)");
  run_sql(p1().primary.database(),
          "pragma writable_schema=on;"
          "update sqlite_schema set rootpage=(select rootpage from sqlite_schema where name='by_b')"
          " where name='by_a'");
  miss_one();
  ASSERT_TRUE(world_.until([&] {
    const auto all = kinds();
    return std::find(all.begin(), all.end(), "rolled_back") != all.end();
  })) << world_.host->state("p1").state();
  EXPECT_THAT(kinds(), Contains("replication_failed"));
  EXPECT_TRUE(world_.host->state("p1").is_protected());
  EXPECT_EQ(run_sql(copy(), "pragma integrity_check"), "ok");
  EXPECT_EQ(run_sql(copy(), "select count(*) from sqlite_schema where name='u'"), "0");
  // It is taken over on the good one.
  p1().answers_pings = false;
  p1().primary.die();
  ASSERT_TRUE(world_.until([&] { return world_.is("StandingIn") && !p1().stand_ins().empty(); }))
      << world_.host->state("p1").reason();
  EXPECT_TRUE(world_.until([&] { return rows_of_copy().find("stand-in") != std::string::npos; }));
}

TEST_F(host_daily, taken_over_on_the_last_generation_while_one_is_made) {
  add_row("unseen");
  world_.stop();
  std::ofstream(directory() + "/daily") << "1\n";
  p1().primary.set_reachable(false);
  world_.start(false);
  ASSERT_TRUE(world_.until([&] {
    return world_.host->state("p1").status() == v1::SERVER_STATUS_REPLICATING;
  })) << world_.host->state("p1").state();
  p1().answers_pings = false;
  p1().primary.die();
  ASSERT_TRUE(world_.until([&] { return world_.is("StandingIn") && !p1().stand_ins().empty(); }))
      << world_.host->state("p1").reason();
  EXPECT_TRUE(world_.until([&] { return rows_of_copy().find("stand-in") != std::string::npos; }));
  EXPECT_THAT(rows_of_copy(), Not(testing::HasSubstr("unseen")));
  EXPECT_THAT(world_.violations(), IsEmpty());
}

// A database that was added since has no copy yet: all the others are protected meanwhile.
TEST_F(host_daily, a_database_that_is_added_holds_up_no_takeover) {
  world_.stop();
  auto& added = *p1().spec.add_databases();
  added.set_catalog("second");
  added.set_path(p1().place + "/second.db");
  world_.start(false);
  ASSERT_TRUE(world_.until([&] { return world_.host->state("p1").agent_connected(); }));
  EXPECT_TRUE(world_.host->state("p1").is_protected());
  EXPECT_THAT(world_.host->state("p1").warnings(),
              Contains(HasSubstr("second is copied for the first time")));

  // The primary is not stopped for less than everything.
  const auto planned = world_.host->command(world_.command(api::verb::failover));
  ASSERT_TRUE(planned.has_value());
  EXPECT_THAT(message_of(planned->status), HasSubstr("go without with --force"));
  EXPECT_TRUE(p1().primary.application_runs());
  EXPECT_THAT(p1().primary.orders(), Not(Contains(HasSubstr("fence"))));

  p1().answers_pings = false;
  ASSERT_TRUE(world_.until([&] { return world_.is("StandingIn"); })) << world_.host->state("p1").state();
  ASSERT_TRUE(world_.until([&] { return p1().stand_in_rows() == 1; }));
  std::string told;
  for (const auto& event : world_.host->events("p1")) told += event.text() + "\n";
  EXPECT_THAT(told, HasSubstr("goes without second"));
  // Also when the daemon is another one by then.
  world_.stop();
  world_.start(false);
  ASSERT_TRUE(world_.until([&] { return world_.is("StandingIn"); }));
  p1().answers_pings = true;
  ASSERT_TRUE(world_.until([&] { return world_.host->state("p1").agent_connected(); }));
  const auto back = world_.host->command(world_.command(api::verb::failback));
  ASSERT_TRUE(back && back->status.ok()) << (back ? message_of(back->status) : "");
  ASSERT_TRUE(world_.until([&] { return world_.is("Monitoring"); })) << world_.operation();
  EXPECT_THAT(world_.violations(), IsEmpty());
}

// The agent knows no such database: the others have their generation each day all the same, and it is told
// once.
TEST_F(host_daily, one_that_the_primary_does_not_have_fails_no_generation) {
  world_.stop();
  auto& added = *p1().spec.add_databases();
  added.set_catalog("second");
  added.set_path(p1().place + "/second.db");
  add_row("yesterday");
  std::ofstream(directory() + "/daily") << "1\n";
  world_.start(false);
  const auto has = [&](const std::string& row) {
    return world_.until([&] {
      return rows_of_copy().find(row) != std::string::npos &&
             world_.host->state("p1").status() == v1::SERVER_STATUS_OK;
    });
  };
  ASSERT_TRUE(has("yesterday")) << world_.host->state("p1").reason();
  EXPECT_TRUE(world_.host->state("p1").is_protected());
  EXPECT_THAT(world_.host->state("p1").warnings(),
              Contains(testing::AllOf(HasSubstr("second: there is none on the primary"),
                                      HasSubstr("a takeover goes without it"))));
  add_row("today");
  const auto asked = world_.host->command(world_.command(api::verb::replicate_from_live));
  ASSERT_TRUE(asked && asked->status.ok());
  ASSERT_TRUE(has("today")) << world_.host->state("p1").reason();
  ASSERT_TRUE(world_.until([&] {
    const auto operations = world_.host->operations();
    return !operations.empty() &&
           operations.back().result().find("without second (there is none") != std::string::npos;
  })) << world_.operation();
  const auto all = kinds();
  EXPECT_EQ(std::count(all.begin(), all.end(), "replication_failed"), 1);
}

// What a daemon that was killed leaves of a generation: the pages that it brought, at their places.
TEST_F(host_daily, what_an_attempt_brought_is_not_brought_again) {
  run_sql(p1().primary.database(), insert_blobs(4096));
  for (const double brought : {0.0, 0.6}) {
    world_.stop();
    run_sql(p1().primary.database(), "update t set x = randomblob(4000) where typeof(x) = 'blob'");
    run_sql(p1().primary.database(), "pragma wal_checkpoint(truncate)");
    const auto whole = std::filesystem::file_size(p1().primary.database());
    if (brought > 0) {
      const std::string next = directory() + "/next/main";
      std::filesystem::create_directories(directory() + "/next");
      std::filesystem::copy_file(copy(), next + ".db");
      std::ofstream(next + ".seeded").flush();
      leave_unfinished(p1().primary.database(), next + ".db-unfinished", brought);
    }
    std::ofstream(directory() + "/daily") << "1\n";
    const std::uint64_t before = p1().primary.sent_bytes();
    world_.start(false);
    const std::string newest = run_sql(p1().primary.database(), "select hex(x) from t where rowid = 4000");
    ASSERT_TRUE(
        world_.until([&] { return run_sql(copy(), "select hex(x) from t where rowid = 4000") == newest; }));
    // A stream's last bytes are counted when it has ended, which may be a moment later.
    const auto sent = [&] {
      return static_cast<double>(p1().primary.sent_bytes() - before) / static_cast<double>(whole);
    };
    if (brought == 0) {
      ASSERT_TRUE(world_.until([&] { return sent() > 0.9; }));
    }
    EXPECT_LT(sent(), 1.2 - brought);
  }
}

TEST_F(host_daily, what_a_failback_brought_is_not_brought_again) {
  p1().answers_pings = false;
  ASSERT_TRUE(world_.until([&] { return world_.is("StandingIn"); }));
  run_sql(copy(), insert_blobs(4096));
  run_sql(copy(), "pragma wal_checkpoint(truncate)");
  const auto whole = std::filesystem::file_size(copy());
  leave_unfinished(copy(), p1().primary.database() + ".understudy-incoming-unfinished", 0.6);
  p1().answers_pings = true;
  ASSERT_TRUE(world_.until([&] { return world_.host->state("p1").agent_connected(); }));
  const auto back = world_.host->command(world_.command(api::verb::failback));
  ASSERT_TRUE(back && back->status.ok()) << (back ? message_of(back->status) : "");
  ASSERT_TRUE(world_.until([&] { return world_.is("Monitoring"); })) << world_.operation();
  EXPECT_EQ(run_sql(p1().primary.database(), "select count(*) from t where typeof(x) = 'blob'"), "4096");
  EXPECT_LT(static_cast<double>(p1().primary.received_bytes()) / static_cast<double>(whole), 0.6);
}

TEST_F(host_daily, a_copy_that_is_gone_is_made_again) {
  world_.stop();
  for (const char* suffix : {"", "-wal", "-shm"}) std::filesystem::remove(copy() + suffix);
  add_row("since then");
  world_.start(false);
  ASSERT_TRUE(world_.until([&] { return !world_.host->state("p1").is_protected(); }));
  ASSERT_TRUE(world_.until([&] { return world_.host->state("p1").is_protected(); }));
  EXPECT_THAT(rows_of_copy(), testing::HasSubstr("since then"));
}

TEST_F(host_daily, verify_reads_the_copy_from_the_disk_and_a_damaged_one_is_replaced) {
  const std::string sound = run_sql(copy(), "select x from t");
  {
    std::fstream file(copy(), std::ios::in | std::ios::out | std::ios::binary);
    file.seekg(4096 + 2000);
    const char byte = static_cast<char>(file.get());
    file.seekp(4096 + 2000);
    file.put(static_cast<char>(byte ^ 0x55));
  }
  const auto asked = world_.host->command(world_.command(api::verb::verify));
  ASSERT_TRUE(asked && asked->status.ok());
  ASSERT_TRUE(world_.until([&] {
    for (const auto& event : world_.host->events("p1")) {
      if (event.kind() == "copy_diverged" && event.text().find("1 differed here") != std::string::npos)
        return true;
    }
    return false;
  }));
  ASSERT_TRUE(world_.until([&] {
    for (const auto& operation : world_.host->operations()) {
      if (operation.kind() == v1::OPERATION_KIND_VERIFY && operation.done()) return true;
    }
    return false;
  }));
  // A new generation brings it back.
  ASSERT_TRUE(world_.until([&] { return earlier_generations().size() == 1; }));
  ASSERT_TRUE(world_.until([&] { return world_.host->state("p1").status() == v1::SERVER_STATUS_OK; }));
  EXPECT_EQ(run_sql(copy(), "pragma integrity_check"), "ok");
  EXPECT_EQ(run_sql(copy(), "select x from t"), sound);
}

}  // namespace
}  // namespace understudy::test
