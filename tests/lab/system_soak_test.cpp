// A mixed load on a protected database while everything around it is disturbed, with the real daemons:
// commits from connections that stay and that come and go, checkpoints of every kind, VACUUM, writers killed
// in the middle, the agent and the host frozen and killed, the link cut. Nothing that was committed is lost,
// the copy shows a committed prefix at every look, and both are equal at the end.
//
// UNDERSTUDY_SOAK_SEED replays a run's choices, UNDERSTUDY_SOAK_SECONDS sets its length: 45 s by default, an
// hour with UNDERSTUDY_SOAK.

#include <fmt/core.h>
#include <signal.h>

#include <cstdlib>
#include <optional>
#include <random>
#include <thread>

#include "tests/lab/system_fixture.hpp"
#include "tests/support/sqlite_shell.hpp"

namespace understudy::test {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using std::chrono::steady_clock;

std::uint64_t number_from(const char* variable, std::uint64_t otherwise) {
  const char* const text = std::getenv(variable);
  return text != nullptr ? std::strtoull(text, nullptr, 10) : otherwise;
}

// Rows 1, 2, 3, ... of a table, each committed by itself, from a connection that stays or from one each.
class writer {
 public:
  explicit writer(std::string path) : path_(std::move(path)) {
    through_sqlite(
        path_,
        "PRAGMA journal_mode=WAL; CREATE TABLE soak(id INTEGER PRIMARY KEY, other INTEGER, filler BLOB);"
        "CREATE INDEX by_other ON soak(other);");
  }
  std::uint64_t committed() const { return committed_; }
  std::uint64_t unknown() const { return unknown_; }

  // One transaction; now and then a large one, an update of many rows, or a deletion of what they hold.
  bool commit(std::mt19937_64& random) {
    const std::uint64_t id = committed_ + 1;
    std::string sql =
        fmt::format("BEGIN IMMEDIATE; INSERT OR IGNORE INTO soak VALUES({}, {}, randomblob({}));", id,
                    random() % 1000, random() % 50 == 0 ? 300'000 : 200);
    const auto dice = random() % 20;
    if (dice == 0) sql += fmt::format("UPDATE soak SET other=other+1 WHERE other<{};", random() % 300);
    if (dice == 1) sql += fmt::format("UPDATE soak SET filler=NULL WHERE id<{};", id / 2);
    return run(id, sql + "COMMIT;");
  }
  // What an application, or its administrator, does besides.
  void disturb(std::mt19937_64& random) {
    static const std::vector<std::string> all = {"PRAGMA wal_checkpoint(PASSIVE);",
                                                 "PRAGMA wal_checkpoint(FULL);",
                                                 "PRAGMA wal_checkpoint(RESTART);",
                                                 "PRAGMA wal_checkpoint(TRUNCATE);",
                                                 "VACUUM;",
                                                 "PRAGMA wal_autocheckpoint=50;"};
    if (shell().run(all[random() % all.size()], seconds{60}) == std::nullopt) shell_.reset();
  }
  void close() {
    if (shell_) shell_->close();
    shell_.reset();
  }
  // As the application dies in the middle of a transaction.
  void kill(std::mt19937_64& random) {
    if (!shell_) return;
    (void)shell_->run(
        fmt::format("BEGIN; UPDATE soak SET other=other+1 WHERE id>{};", random() % (committed_ + 1)));
    shell_->kill();
    shell_.reset();
  }

 private:
  sqlite_shell& shell() {
    if (!shell_) {
      shell_ = std::make_unique<sqlite_shell>(path_);
      (void)shell_->run(".timeout 10000\nPRAGMA synchronous=NORMAL;");
    }
    return *shell_;
  }
  bool run(std::uint64_t id, const std::string& sql) {
    unknown_ = id;
    if (!shell().run(sql)) {
      shell_.reset();
      return false;
    }
    committed_ = id;
    return true;
  }

  const std::string path_;
  std::unique_ptr<sqlite_shell> shell_;
  std::uint64_t committed_ = 0;
  std::uint64_t unknown_ = 0;  // may be there or not
};

class system_soak : public system_test {
 protected:
  // "count max": of the copy as stock SQLite reads it; empty: it could not be read now.
  static std::optional<std::pair<std::uint64_t, std::uint64_t>> look_at(const std::string& path) {
    const auto said =
        through_sqlite("file:" + path + "?mode=ro",
                       ".timeout 5000\nSELECT count(*) || ' ' || ifnull(max(id), 0) FROM soak;");
    if (!said) return std::nullopt;
    std::uint64_t count = 0;
    std::uint64_t max = 0;
    if (std::sscanf(said->c_str(), "%lu %lu", &count, &max) != 2) return std::nullopt;
    return std::pair(count, max);
  }
  static std::string digest(const std::string& path) {
    return through_sqlite("file:" + path + "?mode=ro",
                          ".timeout 5000\n"
                          "SELECT count(*), sum(id), sum(other), sum(length(filler)), "
                          "sum(unicode(hex(filler))*id) FROM soak; PRAGMA integrity_check; "
                          "SELECT name FROM sqlite_schema ORDER BY 1;")
        .value_or("unreadable");
  }
};

TEST_F(system_soak, everything_at_once) {
  const std::uint64_t seed = number_from("UNDERSTUDY_SOAK_SEED", std::random_device{}());
  const bool long_run = std::getenv("UNDERSTUDY_SOAK") != nullptr;
  const seconds length{number_from("UNDERSTUDY_SOAK_SECONDS", long_run ? 3600 : 45)};
  SCOPED_TRACE(fmt::format("UNDERSTUDY_SOAK_SEED={}", seed));
  fmt::print("seed {}, {} s\n", seed, length.count());
  std::mt19937_64 random(seed);
  // Nobody takes over: a cut or frozen link shall be healed, not decided about.
  protect({"--set", "manual_only=true"});
  const std::string database = site->options().application.database;
  const std::string primary = site->on_primary(database).string();
  const std::string copy = site->copy_of(database).string();
  writer rows(primary);
  ASSERT_TRUE(site->wait_in_step());

  std::map<std::string, int> done;
  std::uint64_t seen = 0;
  int looks = 0;
  const auto in = [&](std::uint64_t least_ms, std::uint64_t most_ms) {
    return milliseconds(least_ms + random() % (most_ms - least_ms + 1));
  };
  // Commits go on meanwhile.
  const auto write_for = [&](milliseconds period) {
    const auto until = steady_clock::now() + period;
    while (steady_clock::now() < until) {
      if (!rows.commit(random)) ++done["commit that failed"];
      if (random() % 40 == 0) rows.close();
      if (random() % 30 == 0) rows.disturb(random);
      if (random() % 10 == 0) std::this_thread::sleep_for(in(0, 20));
    }
  };
  const auto until = steady_clock::now() + length;
  while (steady_clock::now() < until && !HasFatalFailure()) {
    write_for(in(100, 1500));
    switch (random() % 8) {
      case 0:
        ++done["agent frozen"];
        site->agent().signal(SIGSTOP);
        write_for(in(100, 4000));
        site->agent().signal(SIGCONT);
        break;
      case 1:
        ++done["agent killed"];
        site->agent().signal(SIGKILL);
        site->agent().wait();
        write_for(in(0, 500));
        site->start_agent();
        break;
      case 2:
        ++done["host frozen"];
        site->host_daemon().signal(SIGSTOP);
        write_for(in(100, 4000));
        site->host_daemon().signal(SIGCONT);
        break;
      case 3:
        ++done["host killed"];
        site->host_daemon().signal(SIGKILL);
        site->host_daemon().wait();
        write_for(in(0, 500));
        site->start_host();
        break;
      case 4:
        ++done["link cut"];
        site->primary().cut();
        write_for(in(50, 3000));
        site->primary().restore();
        break;
      case 5:
        ++done["application killed"];
        rows.kill(random);
        break;
      case 6:
        ++done["verified"];
        (void)site->ctl({"verify", "primary", "--no-wait"});
        break;
      default:
        ++done["caught up"];
        EXPECT_TRUE(site->wait_in_step(seconds{60}));
        break;
    }
    // What the copy shows is a committed prefix, and never goes back.
    if (const auto now = look_at(copy)) {
      ++looks;
      EXPECT_EQ(now->first, now->second) << "rows are missing in the middle";
      EXPECT_LE(now->second, rows.unknown());
      EXPECT_GE(now->second, seen);
      seen = now->second;
    }
  }
  rows.close();
  ASSERT_TRUE(site->wait_in_step(seconds{90}));
  ASSERT_TRUE(wait_until([&] { return digest(copy) == digest(primary); }, seconds{60}, milliseconds{200}))
      << digest(copy) << "\n"
      << digest(primary);
  EXPECT_THAT(digest(copy), testing::HasSubstr("ok"));
  const auto last = look_at(copy);
  ASSERT_TRUE(last);
  EXPECT_GE(last->second, rows.committed());
  ctl_result verified;
  wait_until(
      [&] {
        verified = site->ctl({"verify", "primary"}, seconds{120});
        return verified.error.find("is under way") == std::string::npos;  // one of those asked for above
      },
      seconds{120}, milliseconds{200});
  EXPECT_TRUE(verified) << verified.output << verified.error;
  EXPECT_THAT(verified.output + verified.error, testing::HasSubstr("none differed here"));
  EXPECT_FALSE(site->event("copy_diverged")) << site->event("copy_diverged")->text();
  std::string text;
  for (const auto& [what, count] : done) text += fmt::format(", {} {}", what, count);
  fmt::print("{} commits, {} looks at the copy{}; {} heals since the host last started; seed {}\n",
             rows.committed(), looks, text, site->state()->databases(0).heals(), seed);
  fmt::print("{}{}\n", verified.output, verified.error);
}

}  // namespace
}  // namespace understudy::test
