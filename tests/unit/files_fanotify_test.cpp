// A tree watched by fanotify, whose events are merged and come for the whole file system. The other tests of
// files run by it as well, as `by_fanotify.*`. Where it is not permitted these are skipped.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/fanotify.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <random>

#include "common/os/unique_fd.hpp"
#include "tests/support/files_pair.hpp"
#include "tests/support/wait.hpp"

namespace understudy::test {
namespace {

namespace fs = std::filesystem;
using std::chrono::milliseconds;
using std::chrono::seconds;

bool is_permitted(const std::string& base) {
  const os::unique_fd fanotify{
      ::fanotify_init(FAN_CLASS_NOTIF | FAN_REPORT_DFID_NAME | FAN_CLOEXEC, O_RDONLY)};
  return fanotify && ::fanotify_mark(fanotify.value(), FAN_MARK_ADD | FAN_MARK_FILESYSTEM, FAN_RENAME,
                                     AT_FDCWD, base.c_str()) == 0;
}

class file_fanotify : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!is_permitted(pair.base())) GTEST_SKIP() << "fanotify is not permitted here";
    pair.source_options.watcher.way = files::tree_watcher_options::watching::fanotify_first;
    pair.source_options.watcher.before_read = [this] {
      stalls_ = stalled_.load();
      while (stalled_) std::this_thread::sleep_for(milliseconds{1});
      return false;
    };
  }
  void TearDown() override {
    stalled_ = false;
    pair.disconnect();
    pair.source.reset();
  }
  // From here on events wait.
  void stall() {
    stalled_ = true;
    pair.write("wake", std::to_string(++wakes_));
    ASSERT_TRUE(wait_until([&] { return stalls_.load(); }, seconds{5}));
  }
  void go_on() { stalled_ = false; }

  std::atomic<bool> stalled_{false};
  std::atomic<bool> stalls_{false};
  int wakes_ = 0;
  file_pair pair;
};

TEST_F(file_fanotify, follows_where_inotify_has_run_out_of_watches) {
  pair.source_options.watcher.way = files::tree_watcher_options::watching::inotify_first;
  pair.source_options.watcher.most_watches = 2;
  pair.source_options.watcher.scan_interval = std::chrono::hours{1};
  for (const char* path : {"a/1", "b/1", "c/d/e/1"}) pair.write(path, "1");
  pair.connect();
  pair.expect_same();
  ASSERT_TRUE(wait_until([&] { return pair.source->is_watching(); }, seconds{5}));
  pair.write("c/d/e/1", "2");
  pair.write("f/g/h/1", "2");
  fs::rename(pair.at("c/d"), pair.at("b/d"));
  pair.follow_until_same();
}

// The third rename is merged into the first, which waits before the second; and so on.
TEST_F(file_fanotify, events_that_were_merged_lead_to_the_same_tree) {
  pair.write("p/x/1", "1");
  pair.write("q/y/2", "2");
  pair.connect();
  pair.expect_same();
  ASSERT_NO_FATAL_FAILURE(stall());
  fs::rename(pair.at("p"), pair.at("r"));
  fs::rename(pair.at("r"), pair.at("p"));
  fs::rename(pair.at("p"), pair.at("r"));
  pair.write("r/x/3", "3");
  pair.write("p/made anew", "4");
  fs::rename(pair.at("p"), pair.at("q/p"));
  pair.write("p/and again", "5");
  fs::rename(pair.at("r/x"), pair.at("p/x"));
  pair.write("p/x/6", "6");
  go_on();
  pair.follow_until_same();
  pair.write("p/x/later", "7");
  pair.write("q/p/later", "8");
  pair.write("r/later", "9");
  pair.follow_until_same();
}

TEST_F(file_fanotify, directories_that_move_on_before_they_are_looked_at_are_found) {
  pair.write("a/b/1", "1");
  pair.connect();
  pair.expect_same();
  ASSERT_NO_FATAL_FAILURE(stall());
  fs::create_directories(pair.at("a/b/new/deep"));
  fs::rename(pair.at("a"), pair.at("z"));
  pair.write("z/b/new/deep/2", "2");
  fs::rename(pair.at("z/b"), pair.at("b"));
  go_on();
  pair.follow_until_same();
  pair.write("b/new/deep/3", "3");
  pair.follow_until_same();
}

TEST_F(file_fanotify, what_leaves_the_tree_is_forgotten_and_what_enters_is_followed) {
  const std::string neighbour = pair.directory_->path() + "/neighbour";
  fs::create_directories(neighbour + "/theirs");
  pair.write("ours/d/1", "1");
  pair.connect();
  pair.expect_same();
  fs::rename(pair.at("ours"), neighbour + "/ours");
  fs::rename(neighbour + "/theirs", pair.at("theirs"));
  pair.follow_until_same();
  pair.changes.clear();
  std::ofstream(neighbour + "/ours/d/1") << "written where it does not travel";
  pair.write("theirs/2", "2");
  pair.follow_until_same();
  EXPECT_EQ(pair.changes[v1::FileChange::kPut], 1);
  fs::rename(neighbour + "/ours", pair.at("ours"));
  pair.follow_until_same();
}

// Directories that trade places and names, faster than they are looked at.
TEST_F(file_fanotify, any_order_of_moves_leads_to_the_same_tree) {
  for (unsigned seed = 1; seed <= 30; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937 random(seed);
    const auto any = [&] {
      std::string path(1, static_cast<char>('a' + random() % 3));
      for (unsigned depth = random() % 3; depth > 0; --depth) {
        path += '/';
        path += static_cast<char>('a' + random() % 3);
      }
      return path;
    };
    if (seed == 1) {
      pair.connect();
      pair.expect_same();
    }
    ASSERT_NO_FATAL_FAILURE(stall());
    for (int i = 0; i < 60; ++i) {
      std::error_code refused;
      switch (random() % 4) {
        case 0:
          fs::create_directories(pair.at(any()), refused);
          break;
        case 1:
          fs::rename(pair.at(any()), pair.at(any()), refused);
          break;
        case 2:
          (void)::syscall(SYS_renameat2, AT_FDCWD, pair.at(any()).c_str(), AT_FDCWD, pair.at(any()).c_str(),
                          2U);
          break;
        default:
          if (const std::string path = any(); fs::is_directory(pair.at(path)))
            std::ofstream(pair.at(path) + "/file") << i;
      }
    }
    go_on();
    ASSERT_NO_FATAL_FAILURE(pair.follow_until_same());
  }
}

}  // namespace
}  // namespace understudy::test
