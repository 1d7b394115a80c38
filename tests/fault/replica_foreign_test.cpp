// Other programs at the copy: readers that come, stay and go; checkpoints; writers; a stand-in.

#include <fmt/core.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <filesystem>
#include <fstream>

#include "agent-failover/replica/database_clone.hpp"
#include "agent-failover/replica/database_copy.hpp"
#include "common/sqlite/database.hpp"
#include "common/status/status_text.hpp"
#include "tests/fault/replica_history.hpp"
#include "tests/support/temporary_directory.hpp"

namespace understudy {
namespace {

using channel::heal_way;
using replica::database_copy;
using ::testing::HasSubstr;

// The stock program, in a process of its own.
std::string stock(const std::string& arguments) {
  const std::unique_ptr<FILE, int (*)(FILE*)> out(
      ::popen(fmt::format("sqlite3 {} 2>&1", arguments).c_str(), "r"), &::pclose);
  std::string text;
  std::array<char, 256> buffer;
  while (std::fgets(buffer.data(), buffer.size(), out.get()) != nullptr) text += buffer.data();
  return text;
}

// A stock sqlite3 shell that stays, driven line by line.
class shell {
 public:
  explicit shell(const std::string& database) {
    std::array<int, 2> to{};
    std::array<int, 2> from{};
    if (::pipe(to.data()) != 0 || ::pipe(from.data()) != 0) std::abort();
    child_ = ::fork();
    if (child_ == 0) {
      ::dup2(to[0], 0);
      ::dup2(from[1], 1);
      ::dup2(from[1], 2);
      for (const int fd : {to[0], to[1], from[0], from[1]}) ::close(fd);
      ::execlp("sqlite3", "sqlite3", "-batch", database.c_str(), nullptr);
      ::_exit(127);
    }
    ::close(to[0]);
    ::close(from[1]);
    in_ = ::fdopen(to[1], "w");
    out_ = ::fdopen(from[0], "r");
  }
  ~shell() {
    std::fclose(in_);
    std::fclose(out_);
    ::waitpid(child_, nullptr, 0);
  }
  pid_t pid() const { return child_; }
  // All output of the statement.
  std::string ask(const std::string& sql) {
    std::fprintf(in_, "%s;\n.print --end--\n", sql.c_str());
    std::fflush(in_);
    std::string text;
    std::array<char, 256> line;
    while (std::fgets(line.data(), line.size(), out_) != nullptr &&
           std::string_view(line.data()) != "--end--\n") {
      text += line.data();
    }
    return text;
  }

 private:
  pid_t child_ = -1;
  FILE* in_ = nullptr;
  FILE* out_ = nullptr;
};

class foreign : public ::testing::TestWithParam<bool> {
 protected:
  foreign() {
    options_.patience = std::chrono::milliseconds(2000);
    options_.exclusive_patience = std::chrono::milliseconds(50);
    open();
    EXPECT_TRUE(test::heal(*copy_, h(), 0, heal_way::new_file).ok());
    EXPECT_TRUE(copy_->commit_durably().ok());
  }
  static const test::history& h() {
    static const test::history wal = test::make_history({.transactions = 400});
    static const test::history rollback = test::make_history({.transactions = 400, .wal_header = false});
    return GetParam() ? wal : rollback;
  }
  void open() {
    copy_.reset();
    auto opened =
        database_copy::open(os::posix_file_system().open_root(place_.path()).value(), "copy.db", options_);
    ASSERT_TRUE(opened.ok()) << message_of(opened.status());
    copy_ = std::move(*opened);
  }
  absl::Status commit_next(int count = 1) {
    for (; count > 0; --count) {
      if (const auto s = test::apply(*copy_, h(), static_cast<std::size_t>(++n_)); !s.ok()) return s;
    }
    return copy_->commit_durably();
  }
  void expect_shown(std::int64_t n) {
    const test::finding f = test::inspect(path(), h());
    EXPECT_EQ(f.error, "");
    EXPECT_EQ(f.marker, n);
  }
  std::string path() const { return place_.path() + "/copy.db"; }
  std::string marker() { return stock(path() + " 'SELECT n FROM marker'"); }

  test::temporary_directory place_{test::where::memory};
  replica::copy_options options_;
  std::unique_ptr<database_copy> copy_;
  int n_ = 0;
};

TEST_P(foreign, every_commit_is_shown_to_readers_that_come_and_go) {
  for (int i = 0; i < 120; ++i) {
    ASSERT_TRUE(commit_next().ok());
    if (i % 10 == 3) {
      ASSERT_TRUE(copy_->fold().ok());
      ASSERT_EQ(std::filesystem::file_size(path()), std::uint64_t{h().page_size} * h().pages[n_])
          << "shrinks too";
    }
    const test::finding f = test::inspect(path(), h(), i % 10 == 0);
    ASSERT_EQ(f.error, "");
    ASSERT_EQ(f.marker, n_);
  }
  ASSERT_EQ(marker(), fmt::format("{}\n", n_));
}

TEST_P(foreign, an_idle_reader_sees_every_commit_and_an_open_snapshot_stays) {
  shell idle(path());
  shell snapshot(path());
  ASSERT_EQ(idle.ask("SELECT n FROM marker"), "0\n");
  // Most pages of the snapshot lie in the database file only, where folding too far would change them.
  ASSERT_TRUE(commit_next(150).ok());
  ASSERT_TRUE(copy_->fold().ok());
  ASSERT_TRUE(commit_next().ok());
  // Without a cache each look goes to the files.
  (void)snapshot.ask("PRAGMA cache_size=0");
  const std::string digest = snapshot.ask("BEGIN; SELECT n, (SELECT total(k*31+v) FROM t) FROM marker");
  for (int i = 0; i < 60; ++i) {
    ASSERT_TRUE(commit_next(3).ok());
    ASSERT_TRUE(copy_->fold().ok());
    ASSERT_EQ(idle.ask("SELECT n FROM marker"), fmt::format("{}\n", n_));
    ASSERT_EQ(snapshot.ask("SELECT n, (SELECT total(k*31+v) FROM t) FROM marker"), digest);
    ASSERT_EQ(snapshot.ask("PRAGMA integrity_check"), "ok\n");
  }
  EXPECT_THAT(copy_->figures().fold_blocked_by, HasSubstr(fmt::format("pid {}", snapshot.pid())));
  EXPECT_EQ(copy_->figures().folds, 1u);
  (void)snapshot.ask("COMMIT");
  ASSERT_TRUE(copy_->fold().ok());
  EXPECT_EQ(copy_->figures().folds, 2u);
  EXPECT_EQ(copy_->figures().fold_blocked_by, "");
  EXPECT_EQ(snapshot.ask("SELECT n FROM marker"), fmt::format("{}\n", n_));
  expect_shown(n_);
}

TEST_P(foreign, a_reader_of_the_database_file_alone_is_not_disturbed_by_folding) {
  // After a stock checkpoint a reader takes slot 0 and reads the database file only.
  ASSERT_TRUE(commit_next(5).ok());
  (void)stock(path() + " 'PRAGMA wal_checkpoint(PASSIVE)'");
  shell reader(path());
  (void)reader.ask("PRAGMA cache_size=0");
  const std::string before = reader.ask("BEGIN; SELECT n, (SELECT total(k*31+v) FROM t) FROM marker");
  for (int i = 0; i < 30; ++i) {
    ASSERT_TRUE(commit_next().ok());
    ASSERT_TRUE(copy_->fold().ok());
  }
  EXPECT_EQ(reader.ask("SELECT n, (SELECT total(k*31+v) FROM t) FROM marker"), before);
  EXPECT_EQ(reader.ask("PRAGMA integrity_check"), "ok\n");
}

TEST_P(foreign, the_wal_stays_bounded_and_keeps_growing_only_under_a_stuck_reader) {
  options_.fold_bytes = 64 << 10;
  open();
  std::uint64_t largest = 0;
  for (int i = 0; i < 300; ++i) {
    ASSERT_TRUE(commit_next().ok());
    ASSERT_TRUE(copy_->fold_if_due().ok());
    largest = std::max(largest, copy_->figures().wal_bytes);
  }
  EXPECT_GT(copy_->figures().folds, 10u);
  EXPECT_LT(largest, 1u << 20);
  expect_shown(n_);
}

TEST_P(foreign, stock_checkpoints_are_survived) {
  ASSERT_TRUE(commit_next(3).ok());
  for (const char* how : {"TRUNCATE", "RESTART", "FULL", "PASSIVE", "TRUNCATE", "TRUNCATE"}) {
    const std::string answer = stock(fmt::format("{} 'PRAGMA wal_checkpoint({})'", path(), how));
    EXPECT_EQ(answer.substr(0, 2), "0|") << how << ": " << answer;
    ASSERT_TRUE(commit_next(2).ok()) << how;
    expect_shown(n_);
    EXPECT_EQ(h().find(copy_->state().combined), n_);
  }
  EXPECT_GE(copy_->figures().foreign_checkpoints, 2u);
  EXPECT_EQ(copy_->figures().foreign_writes, 0u);
  open();
  EXPECT_EQ(h().find(copy_->state().combined), n_);
}

TEST_P(foreign, a_truncate_while_transactions_wait_is_survived) {
  ASSERT_TRUE(commit_next(3).ok());
  ASSERT_TRUE(test::apply(*copy_, h(), static_cast<std::size_t>(++n_)).ok());
  EXPECT_EQ(stock(path() + " 'PRAGMA wal_checkpoint(TRUNCATE)'").substr(0, 2), "0|");
  ASSERT_TRUE(commit_next().ok());
  expect_shown(n_);
}

TEST_P(foreign, a_foreign_write_is_detected_and_healed) {
  const std::array<const char*, 4> statements{
      "INSERT INTO t VALUES(-1, 0, NULL)",
      "PRAGMA wal_checkpoint(TRUNCATE); INSERT INTO t VALUES(-2, 0, NULL)",
      "INSERT INTO t VALUES(-3, 0, NULL); PRAGMA wal_checkpoint(TRUNCATE)", "VACUUM"};
  std::uint64_t detected = 0;
  for (const char* sql : statements) {
    ASSERT_TRUE(commit_next(3).ok());
    (void)stock(fmt::format("{} '{}'", path(), sql));
    const absl::Status refused = commit_next();
    EXPECT_TRUE(absl::IsFailedPrecondition(refused)) << sql << ": " << message_of(refused);
    EXPECT_EQ(copy_->figures().foreign_writes, ++detected) << sql;
    EXPECT_EQ(stock(path() + " 'PRAGMA integrity_check'"), "ok\n") << sql;
    EXPECT_EQ(h().find(copy_->state().combined), -1) << sql;
    ASSERT_TRUE(test::heal(*copy_, h(), static_cast<std::size_t>(n_), heal_way::in_place).ok());
    ASSERT_TRUE(copy_->commit_durably().ok());
    expect_shown(n_);
  }
}

TEST_P(foreign, replaced_or_removed_files_are_detected) {
  for (const std::string what : {"copy.db", "copy.db-wal", "copy.db-shm"}) {
    ASSERT_TRUE(commit_next(3).ok());
    const auto file = place_.path() + "/" + what;
    if (what == "copy.db") {
      std::filesystem::copy_file(file, file + "2");
      std::filesystem::rename(file + "2", file);
    } else {
      std::filesystem::remove(file);
    }
    EXPECT_TRUE(absl::IsFailedPrecondition(commit_next())) << what;
    ASSERT_TRUE(test::heal(*copy_, h(), static_cast<std::size_t>(n_), heal_way::new_file).ok()) << what;
    ASSERT_TRUE(copy_->commit_durably().ok()) << what;
    expect_shown(n_);
  }
}

TEST_P(foreign, a_stand_in_that_starts_beside_an_idle_reader_destroys_nothing) {
  shell idle(path());
  ASSERT_EQ(idle.ask("SELECT n FROM marker"), "0\n");
  ASSERT_TRUE(commit_next(50).ok());
  copy_.reset();  // as after kill -9: no handing over
  shell stand_in(path());
  EXPECT_EQ(stand_in.ask("INSERT INTO t VALUES(-1, 0, NULL); SELECT n FROM marker"), fmt::format("{}\n", n_));
  EXPECT_EQ(stand_in.ask("PRAGMA integrity_check"), "ok\n");
  EXPECT_EQ(idle.ask("SELECT n FROM marker"), fmt::format("{}\n", n_));
}

TEST_P(foreign, hands_over_a_plain_file_and_takes_back_what_the_stand_in_wrote) {
  ASSERT_TRUE(commit_next(20).ok());
  {
    shell reader(path());
    (void)reader.ask("SELECT n FROM marker");
    const absl::Status refused = copy_->prepare_for_stand_in();
    if (GetParam()) {
      EXPECT_TRUE(absl::IsFailedPrecondition(refused));
      EXPECT_THAT(std::string(message_of(refused)), HasSubstr(fmt::format("sqlite3 (pid {})", reader.pid())));
    }
    ASSERT_TRUE(refused.ok() || commit_next().ok()) << "the copy goes on after a refusal";
    if (refused.ok()) {
      ASSERT_TRUE(copy_->resume().ok());
    }
  }
  ASSERT_TRUE(copy_->prepare_for_stand_in().ok());
  EXPECT_FALSE(std::filesystem::exists(path() + "-wal"));
  EXPECT_FALSE(std::filesystem::exists(path() + "-shm"));
  EXPECT_TRUE(absl::IsFailedPrecondition(copy_->commit_durably()));
  EXPECT_TRUE(absl::IsFailedPrecondition(copy_->begin_heal(heal_way::in_place, h().page_size)));
  expect_shown(n_);
  {
    shell stand_in(path());
    EXPECT_EQ(stand_in.ask("INSERT INTO t VALUES(-1, 7, NULL); SELECT v FROM t WHERE k=-1"), "7\n");
    if (GetParam()) {
      const absl::Status refused = copy_->resume();
      EXPECT_TRUE(absl::IsFailedPrecondition(refused));
      EXPECT_THAT(std::string(message_of(refused)), HasSubstr("sqlite3"));
    }
    ::kill(stand_in.pid(), SIGKILL);
  }
  const absl::Status resumed = copy_->resume();
  ASSERT_TRUE(resumed.ok()) << message_of(resumed);
  EXPECT_EQ(stock(path() + " 'SELECT v FROM t WHERE k=-1'"), "7\n");
  ASSERT_TRUE(test::heal(*copy_, h(), static_cast<std::size_t>(n_), heal_way::in_place).ok());
  ASSERT_TRUE(copy_->commit_durably().ok());
  expect_shown(n_);
}

TEST_P(foreign, a_stand_in_killed_within_a_rollback_transaction_is_rolled_back) {
  ASSERT_TRUE(commit_next(20).ok());
  ASSERT_TRUE(copy_->prepare_for_stand_in().ok());
  {
    shell stand_in(path());
    (void)stand_in.ask(
        "PRAGMA journal_mode=DELETE; PRAGMA cache_size=2; PRAGMA cache_spill=1; BEGIN;"
        "UPDATE t SET v = v + 1; DELETE FROM marker");
    ::kill(stand_in.pid(), SIGKILL);
  }
  ASSERT_GT(std::filesystem::file_size(path() + "-journal"), 0u) << "the test needs a hot journal";
  ASSERT_TRUE(copy_->resume().ok());
  ASSERT_TRUE(test::heal(*copy_, h(), static_cast<std::size_t>(n_), heal_way::in_place).ok());
  ASSERT_TRUE(copy_->commit_durably().ok());
  expect_shown(n_);
}

TEST_P(foreign, a_new_file_goes_through_the_wal_while_a_reader_stays) {
  shell idle(path());
  ASSERT_TRUE(commit_next(3).ok());
  (void)idle.ask("BEGIN; SELECT n FROM marker");
  n_ += 40;
  ASSERT_TRUE(test::heal(*copy_, h(), static_cast<std::size_t>(n_), heal_way::new_file).ok());
  ASSERT_TRUE(copy_->commit_durably().ok());
  EXPECT_EQ(idle.ask("SELECT n FROM marker"), "3\n");
  EXPECT_EQ(idle.ask("COMMIT; SELECT n FROM marker"), fmt::format("{}\n", n_));
  expect_shown(n_);
  ASSERT_TRUE(commit_next(3).ok());
  expect_shown(n_);
}

TEST_P(foreign, refuses_what_does_not_fit_and_stays_unchanged) {
  ASSERT_TRUE(commit_next(3).ok());
  const auto before = copy_->state();
  EXPECT_TRUE(absl::IsFailedPrecondition(test::apply(*copy_, h(), 7)));
  auto t = h().transactions[3];
  ASSERT_TRUE(copy_->add_pages(t.page_size, t.pages).ok());
  EXPECT_TRUE(absl::IsDataLoss(copy_->end_transaction({.number = 4,
                                                       .page_size = t.page_size,
                                                       .database_pages = t.database_pages,
                                                       .hash_before = t.hash_before,
                                                       .hash_after = t.hash_before})));
  channel::page_image bad{.number = 0, .bytes = std::string(h().page_size, 'x')};
  EXPECT_TRUE(absl::IsInvalidArgument(copy_->add_pages(h().page_size, {&bad, 1})));
  bad = {.number = 1, .bytes = "short"};
  EXPECT_TRUE(absl::IsInvalidArgument(copy_->add_pages(h().page_size, {&bad, 1})));
  EXPECT_TRUE(absl::IsFailedPrecondition(copy_->add_pages(512, {})));
  EXPECT_TRUE(absl::IsInvalidArgument(copy_->begin_heal(heal_way::in_place, 1000)));
  ASSERT_TRUE(copy_->begin_heal(heal_way::new_file, h().page_size).ok());
  EXPECT_TRUE(absl::IsDataLoss(copy_->end_heal(before.database_pages, h().registers[5])));
  EXPECT_EQ(copy_->state().combined, before.combined);
  ASSERT_TRUE(commit_next().ok());
  expect_shown(n_);
}

TEST_P(foreign, clones_what_is_committed) {
  ASSERT_TRUE(commit_next(30).ok());
  const auto d = os::posix_file_system().open_root(place_.path()).value();
  const absl::Status cloned = replica::clone_database(*d, "copy.db", *d, "aside.db");
  ASSERT_TRUE(cloned.ok()) << message_of(cloned);
  const test::finding f = test::inspect(place_.path() + "/aside.db", h());
  EXPECT_EQ(f.error, "");
  EXPECT_EQ(f.marker, n_);
  EXPECT_TRUE(absl::IsAlreadyExists(replica::clone_database(*d, "copy.db", *d, "aside.db")));
  ASSERT_TRUE(commit_next().ok());
  expect_shown(n_);
}

INSTANTIATE_TEST_SUITE_P(replica, foreign, ::testing::Bool(),
                         [](const auto& parameter) { return parameter.param ? "wal" : "rollback"; });

}  // namespace
}  // namespace understudy
