// Whoever looks after a copy beside its stream: what is told, what is let go of, and who sees which state.

#include <fcntl.h>
#include <fmt/core.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/ioprio.h>
#include <sqlite3.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "agent-failover/replica/guarded_copy.hpp"
#include "agent-failover/server/copy_caretaker.hpp"
#include "agent-failover/server/database_lane.hpp"
#include "common/os/unique_fd.hpp"
#include "common/sqlite/database.hpp"
#include "common/status/status_text.hpp"
#include "tests/fault/replica_history.hpp"
#include "tests/support/temporary_directory.hpp"
#include "tests/support/wait.hpp"

namespace understudy::server {
namespace {

using channel::heal_way;
using std::chrono::seconds;
using testing::HasSubstr;

class caretaker : public testing::Test {
 protected:
  void SetUp() override {
    lanes_.push_back(
        std::make_shared<database_lane>(os::posix_file_system(), "p1", "one", path(), false, [] {}));
    ASSERT_TRUE(lane().open().ok());
    bring(0);
    apply_to(20);
  }
  std::string path() const { return place_.path() + "/one.db"; }
  database_lane& lane() { return *lanes_.front(); }
  void bring(std::size_t state) {
    lane().held()->with([&](replica::database_copy& copy) {
      ASSERT_TRUE(test::heal(copy, h_, state, heal_way::new_file).ok());
      ASSERT_TRUE(copy.commit_durably().ok());
    });
    state_ = state;
  }
  void apply_to(std::size_t last) {
    lane().held()->with([&](replica::database_copy& copy) {
      while (state_ < last) ASSERT_TRUE(test::apply(copy, h_, ++state_).ok());
      ASSERT_TRUE(copy.commit_durably().ok());
    });
  }
  // Of this process, on the copy and its log.
  std::size_t descriptors() const {
    std::size_t count = 0;
    for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
      std::error_code gone;
      count += std::filesystem::read_symlink(entry, gone).string().starts_with(place_.path() + "/one.db");
    }
    return count;
  }

  const test::temporary_directory place_{test::where::disk};
  const test::history h_ = test::make_history({.transactions = 40});
  std::vector<std::shared_ptr<database_lane>> lanes_;
  std::size_t state_ = 0;
};

TEST_F(caretaker, tells_once_what_cannot_be_read_and_tries_again) {
  // A log that cannot be opened, as on a disk that fails.
  std::filesystem::rename(path() + "-wal", path() + "-kept");
  std::filesystem::create_symlink("nowhere", path() + "-wal");
  copy_caretaker takes_care(
      "p1", [this] { return lanes_; }, [] {}, {.least_between_passes = seconds(0)});
  std::vector<std::string> told;
  const auto look = [&] {
    for (auto& text : takes_care.take_divergences()) told.push_back(std::move(text));
    return !told.empty();
  };
  ASSERT_TRUE(test::wait_until(look, seconds(10)));
  EXPECT_THAT(told.front(), HasSubstr("cannot be read"));
  std::filesystem::remove(path() + "-wal");
  std::filesystem::rename(path() + "-kept", path() + "-wal");
  // The pass goes on: what is damaged from now on is found.
  {
    const os::unique_fd log(::open((path() + "-wal").c_str(), O_RDWR | O_CLOEXEC));
    ASSERT_EQ(::pwrite(log.value(), "damage", 6, 200), 6);
  }
  ASSERT_TRUE(test::wait_until([&] { return look() && told.size() > 1; }, seconds(10)));
  EXPECT_THAT(told.back(), HasSubstr("otherwise than they were written"));
  EXPECT_EQ(told.size(), 2u);
}

TEST_F(caretaker, tells_who_keeps_a_log_from_being_folded) {
  sqlite3* reader = nullptr;
  ASSERT_EQ(sqlite3_open_v2(path().c_str(), &reader, SQLITE_OPEN_READONLY, nullptr), SQLITE_OK);
  ASSERT_EQ(sqlite3_exec(reader, "BEGIN; SELECT count(*) FROM sqlite_schema", nullptr, nullptr, nullptr),
            SQLITE_OK);
  apply_to(30);
  ASSERT_TRUE(lane().held()->with([](replica::database_copy& copy) { return copy.fold(); }).ok());
  copy_caretaker takes_care(
      "p1", [this] { return lanes_; }, [] {}, {.large_log = 4096});
  std::vector<std::string> told;
  ASSERT_TRUE(test::wait_until(
      [&] {
        told = takes_care.take_large_logs();
        return !told.empty();
      },
      seconds(10)));
  EXPECT_THAT(told.front(), HasSubstr(fmt::format("pid {}", ::getpid())));
  EXPECT_FALSE(test::wait_until([&] { return !takes_care.take_large_logs().empty(); }, seconds(3)));
  sqlite3_close(reader);
}

TEST_F(caretaker, is_served_on_a_busy_disk) {
  copy_caretaker takes_care(
      "p1", [this] { return lanes_; }, [] {});
  int io_class = -1;
  ASSERT_TRUE(test::wait_until(
      [&] {
        for (const auto& entry : std::filesystem::directory_iterator("/proc/self/task")) {
          std::string name;
          std::getline(std::ifstream(entry.path() / "comm") >> std::ws, name);
          const auto thread = std::stoi(entry.path().filename());
          if (name != "caretaker") continue;
          const auto priority = ::syscall(SYS_ioprio_get, IOPRIO_WHO_PROCESS, thread);
          if (priority == 0) return false;  // not set yet
          io_class = static_cast<int>(IOPRIO_PRIO_CLASS(priority));
          return true;
        }
        return false;
      },
      seconds(10)));
  EXPECT_EQ(io_class, IOPRIO_CLASS_BE);
}

TEST_F(caretaker, a_copy_that_was_let_go_of_is_let_go_of_by_all) {
  const auto held = lane().held();
  ASSERT_GT(descriptors(), 0u);
  lane().close();
  EXPECT_EQ(descriptors(), 0u);
  EXPECT_FALSE(held->state().exists);
  EXPECT_TRUE(absl::IsFailedPrecondition(
      held->with([](replica::database_copy& copy) { return copy.scrub(1, 10); }).status()));
  ASSERT_TRUE(lane().open().ok());
  EXPECT_TRUE(lane().held()->state().exists);
}

// The past of a copy is by the primary's clock.
TEST(guarded_copy, tells_its_observer_when_the_source_saw_a_commit) {
  struct notes final : replica::copy_observer {
    void opened(replica::observed_image, std::vector<std::uint32_t>,
                std::vector<replica::found_commit>) override {}
    void committed(std::vector<std::uint32_t>, std::vector<replica::observed_commit> commits) override {
      for (const auto& commit : commits) at = commit.committed_at;
    }
    std::uint32_t may_fold(std::uint32_t upto, bool) override { return upto; }
    void restarted() override {}
    void replaced(replica::observed_image, replica::observed_image, std::vector<std::uint32_t>,
                  std::chrono::system_clock::time_point) override {}
    void released() override {}
    std::chrono::system_clock::time_point at;
  };
  const test::temporary_directory place(test::where::memory);
  const test::history h = test::make_history({.transactions = 2});
  const auto observer = std::make_shared<notes>();
  replica::guarded_copy copy(
      replica::database_copy::open(os::posix_file_system().open_root(place.path()).value(), "one.db",
                                   {.observer = observer})
          .value());
  copy.with([&](replica::database_copy& c) {
    ASSERT_TRUE(test::heal(c, h, 0, heal_way::new_file).ok());
    ASSERT_TRUE(c.commit_durably().ok());
  });
  const auto seen = std::chrono::system_clock::time_point(seconds(1'795'000'000));
  channel::database_sink& sink = copy;
  sink.captured_at(seen);
  copy.with([&](replica::database_copy& c) {
    ASSERT_TRUE(test::apply(c, h, 1).ok());
    ASSERT_TRUE(c.commit_durably().ok());
  });
  EXPECT_EQ(observer->at, seen);
}

TEST_F(caretaker, the_image_after_a_stand_in_is_what_it_wrote) {
  const auto before = lane().image();
  ASSERT_TRUE(before.ok());
  ASSERT_TRUE(lane().release().ok());
  {
    auto d = sqlite::database::open(path(), {.create = false}).value();
    ASSERT_TRUE(d.execute("UPDATE marker SET n = 77").ok());
  }
  const auto after = lane().image();
  ASSERT_TRUE(after.ok()) << message_of(after.status());
  EXPECT_NE(after->hash, before->hash);
  ASSERT_TRUE(lane().take_back().ok());
  EXPECT_EQ(lane().image()->hash, after->hash);
}

}  // namespace
}  // namespace understudy::server
