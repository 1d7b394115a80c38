// A source and a sink over real trees and real inotify: whatever happens to the base, the copy becomes the
// same, metadata included.

#include <gtest/gtest.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/xattr.h>

#include <array>
#include <atomic>

#include "agent-failover/replica/tree/deleted_files.hpp"
#include "tests/support/files_pair.hpp"
#include "tests/support/wait.hpp"

namespace understudy::test {
namespace {

namespace fs = std::filesystem;
using std::chrono::milliseconds;

void set_mtime(const std::string& path, time_t seconds, long nanoseconds = 0) {
  const timespec times[2] = {{seconds, nanoseconds}, {seconds, nanoseconds}};
  ASSERT_EQ(::utimensat(AT_FDCWD, path.c_str(), times, AT_SYMLINK_NOFOLLOW), 0);
}

class file_stream : public ::testing::Test {
 protected:
  file_pair pair;
};

TEST_F(file_stream, copies_what_is_there_with_all_its_metadata) {
  pair.write("a/b/plain", "one");
  pair.write("empty", "");
  pair.write("large", std::string(3'000'000, 'x') + "end");
  fs::create_directories(pair.at("nothing in it"));
  fs::create_symlink("../../etc/passwd", pair.at("a/outside"));
  fs::create_hard_link(pair.at("a/b/plain"), pair.at("second name"));
  ::chmod(pair.at("a/b/plain").c_str(), 04755);
  ::chmod(pair.at("a").c_str(), 02770);
  (void)!::lchown(pair.at("a/outside").c_str(), 1234, 4321);
  (void)!::chown(pair.at("empty").c_str(), 1, 2);
  ::setxattr(pair.at("empty").c_str(), "user.colour", "blue", 4, 0);
  for (const std::string& name :
       {std::string("new\nline"), std::string("\xff\xfe"), std::string(255, 'n'), std::string("back\\slash"),
        std::string("*?["), std::string("NFC\xc3\xa9")}) {
    pair.write(name, name);
  }
  set_mtime(pair.at("nothing in it"), 1'000'000'000, 123'456'789);
  pair.connect();
  pair.expect_same();
}

TEST_F(file_stream, follows_changes_by_events) {
  pair.write("log", "start\n");
  pair.write("d/swap1", "1");
  pair.write("d/swap2", "2");
  pair.connect();
  pair.expect_same();
  pair.write("new", "n");
  { std::ofstream(pair.at("log"), std::ios::app) << "more\n"; }
  pair.follow_until_same();
  EXPECT_GT(pair.changes[v1::FileChange::kAppend], 0);
  pair.write("new", "overwritten");
  ASSERT_EQ(::truncate(pair.at("log").c_str(), 3), 0);
  fs::rename(pair.at("d/swap1"), pair.at("d/t"));
  fs::rename(pair.at("d/swap2"), pair.at("d/swap1"));
  fs::rename(pair.at("d/t"), pair.at("d/swap2"));
  pair.follow_until_same();
  EXPECT_GE(pair.changes[v1::FileChange::kRename], 3);
  fs::remove(pair.at("new"));
  fs::create_directory(pair.at("new"));
  pair.write("new/inside", "x");
  fs::remove_all(pair.at("d"));
  pair.write("d", "a file now");
  ::chmod(pair.at("d").c_str(), 0600);
  pair.follow_until_same();
  fs::create_hard_link(pair.at("d"), pair.at("d2"));
  pair.follow_until_same();
  pair.write("d2", "through the other name");
  pair.follow_until_same();
  fs::remove(pair.at("d"));
  fs::create_symlink("d2", pair.at("d"));
  fs::remove_all(pair.at("new"));
  fs::create_symlink("..", pair.at("new"));
  ::setxattr(pair.at("d2").c_str(), "user.note", "v", 1, 0);
  pair.follow_until_same();
}

// Whoever asked for a drain may look late: what follows the answer at once must not hide it.
TEST_F(file_stream, drained_stays_until_the_next_drain) {
  pair.connect();
  pair.write("a", "1");
  pair.expect_same();
  v1::FilesSourceMessage in_step;
  in_step.mutable_in_step()->set_sequence(0);
  ASSERT_TRUE(pair.receiving->receive(std::move(in_step)).ok());
  EXPECT_EQ(pair.receiving->progress().now, files::files_progress::phase::drained);
  pair.receiving->drain();
  EXPECT_EQ(pair.receiving->progress().now, files::files_progress::phase::streaming);
}

TEST_F(file_stream, a_renamed_directory_moves_and_is_not_sent_again) {
  fs::create_directories(pair.at("old"));
  for (int i = 0; i < 10'000; ++i) std::ofstream(pair.at("old/f" + std::to_string(i))) << "content";
  pair.connect();
  pair.expect_same();
  pair.bytes_sent = 0;
  fs::rename(pair.at("old"), pair.at("new"));
  pair.follow_until_same();
  EXPECT_LT(pair.bytes_sent, 4096U);
  EXPECT_EQ(pair.changes[v1::FileChange::kRename], 1);
  pair.write("new/f7", "followed under its new name");
  pair.follow_until_same();
}

TEST_F(file_stream, nothing_is_missed_in_directories_made_a_moment_ago) {
  pair.connect();
  pair.expect_same();
  for (int round = 0; round < 3; ++round) {
    const std::string top = "r" + std::to_string(round) + "/a/b/c/d";
    for (int i = 0; i < 1000; ++i) pair.write(top + std::to_string(i % 10) + "/f" + std::to_string(i), "x");
    pair.follow_until_same();
  }
}

TEST_F(file_stream, a_file_replaced_by_one_of_the_same_size_and_time_is_sent) {
  pair.write("msg0", "AAAA");
  pair.write("msg1", "BBBB");
  set_mtime(pair.at("msg0"), 1'700'000'000);
  set_mtime(pair.at("msg1"), 1'700'000'000);
  pair.connect();
  pair.expect_same();
  fs::rename(pair.at("msg1"), pair.at("msg0"));
  pair.follow_until_same();
  pair.write("msg0", "CCCC");
  set_mtime(pair.at("msg0"), 1'700'000'000);
  pair.follow_until_same();
  // While nobody listens, and with the source's memory gone.
  pair.disconnect();
  pair.source.reset();
  pair.write("other", "DDDD");
  set_mtime(pair.at("other"), 1'700'000'000);
  fs::rename(pair.at("other"), pair.at("msg0"));
  pair.connect();
  pair.expect_same();
}

TEST_F(file_stream, a_write_through_a_mapping_arrives) {
  pair.write("mapped", std::string(8192, 'a'));
  pair.connect();
  pair.expect_same();
  const int fd = ::open(pair.at("mapped").c_str(), O_RDWR);
  void* memory = ::mmap(nullptr, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  ::close(fd);
  ASSERT_NE(memory, MAP_FAILED);
  static_cast<char*>(memory)[5000] = 'Z';
  ::munmap(memory, 8192);
  pair.follow_until_same();
}

TEST_F(file_stream, large_files_keep_their_holes_and_grow_by_what_is_appended) {
  pair.write("big", std::string(2'000'000, 'b'));
  pair.write("sparse", "head");
  ASSERT_EQ(::truncate(pair.at("sparse").c_str(), 50'000'000), 0);
  pair.connect();
  pair.expect_same();
  EXPECT_LT(pair.bytes_sent, 3'000'000U);
  struct ::stat status {};
  ASSERT_EQ(::stat((pair.copy() + "/sparse").c_str(), &status), 0);
  EXPECT_LT(status.st_blocks * 512, 1'000'000);
  pair.bytes_sent = 0;
  { std::ofstream(pair.at("big"), std::ios::app) << std::string(1000, 'c'); }
  pair.follow_until_same();
  EXPECT_LT(pair.bytes_sent, 10'000U);
}

// More than what may be on its way unacknowledged.
TEST_F(file_stream, a_file_larger_than_the_window_arrives) {
  pair.write("large", std::string(48 << 20, 'l'));
  pair.connect();
  pair.follow_until_same();
}

TEST_F(file_stream, a_growing_file_is_on_the_copy_while_it_is_open) {
  pair.connect();
  pair.expect_same();
  std::ofstream recording(pair.at("rec.wav"), std::ios::binary);
  for (int i = 1; i <= 5; ++i) {
    recording << std::string(800, static_cast<char>('0' + i)) << std::flush;
    ASSERT_TRUE(wait_until(
        [&] {
          bool moved = false;
          EXPECT_TRUE(pair.step(moved).ok());
          std::error_code missing;
          return fs::file_size(pair.copy() + "/rec.wav", missing) == static_cast<std::uintmax_t>(800 * i);
        },
        std::chrono::seconds{10}));
  }
  recording.close();
  pair.expect_same();
}

TEST_F(file_stream, a_restart_sends_nothing_that_the_copy_has) {
  for (int i = 0; i < 300; ++i)
    pair.write("d" + std::to_string(i % 7) + "/" + std::to_string(i), std::string(2000, 's'));
  pair.connect();
  pair.expect_same();
  pair.disconnect();
  pair.write("d1/changed meanwhile", "x");
  fs::remove(pair.at("d2/2"));
  pair.bytes_sent = 0;
  pair.connect();
  pair.expect_same();
  EXPECT_LT(pair.bytes_sent, 5'000U);
  pair.disconnect();
  pair.sink.reset();
  pair.source.reset();
  pair.connect();
  pair.expect_same();
}

TEST_F(file_stream, held_it_goes_on_watching_and_catches_up_at_once) {
  pair.write("a", "1");
  pair.connect();
  pair.expect_same();
  pair.receiving->hold(true);
  bool moved = false;
  ASSERT_TRUE(pair.step(moved).ok());
  pair.write("a", "2");
  pair.write("b/c", "3");
  ASSERT_TRUE(wait_until([&] { return !pair.source->dirty().empty(); }, std::chrono::seconds{5}));
  ASSERT_TRUE(pair.step(moved).ok());
  EXPECT_FALSE(tree_differences(pair.base(), pair.copy()).empty());
  pair.receiving->hold(false);
  pair.follow_until_same();
}

TEST_F(file_stream, a_base_that_is_not_mounted_deletes_nothing) {
  pair.write("precious", "data");
  pair.connect();
  pair.expect_same();
  fs::rename(pair.base(), pair.base() + ".away");
  ASSERT_TRUE(wait_until(
      [&] {
        bool moved = false;
        EXPECT_TRUE(pair.step(moved).ok());
        return pair.receiving->progress().now == files::files_progress::phase::unavailable;
      },
      std::chrono::seconds{10}));
  EXPECT_TRUE(fs::exists(pair.copy() + "/precious"));
  fs::create_directory(pair.base());  // an empty mount point
  pair.connect();
  ASSERT_TRUE(wait_until(
      [&] {
        bool moved = false;
        EXPECT_TRUE(pair.step(moved).ok());
        return pair.receiving->progress().now == files::files_progress::phase::unavailable;
      },
      std::chrono::seconds{10}));
  EXPECT_TRUE(fs::exists(pair.copy() + "/precious"));
  fs::remove(pair.base());
  fs::rename(pair.base() + ".away", pair.base());
  pair.connect();
  pair.expect_same();
}

// Holds a watcher up before it reads its events; it looks twice a second, events or not. Lets it go in the
// end.
class held_watcher {
 public:
  explicit held_watcher(files::tree_watcher_options& options) {
    options.before_read = [gate = gate_] {
      while (gate->hold) {
        gate->held = true;
        std::this_thread::sleep_for(milliseconds{1});
      }
      return false;
    };
  }
  ~held_watcher() { let_go(); }
  // Returns when it is held.
  void hold() {
    gate_->hold = true;
    ASSERT_TRUE(wait_until([&] { return gate_->held.load(); }, std::chrono::seconds{10}));
  }
  void let_go() { gate_->hold = false; }

 private:
  struct gate {
    std::atomic<bool> hold{false};
    std::atomic<bool> held{false};
  };
  const std::shared_ptr<gate> gate_ = std::make_shared<gate>();  // the watcher outlives the test's function
};

TEST_F(file_stream, lost_events_are_found_by_looking) {
  held_watcher watcher(pair.source_options.watcher);
  pair.write("d/watched already", "w");
  pair.write("e/watched already", "w");
  pair.connect();
  pair.expect_same();
  int limit = 0;
  std::ifstream("/proc/sys/fs/inotify/max_queued_events") >> limit;
  ASSERT_NO_FATAL_FAILURE(watcher.hold());
  for (int i = 0; i < limit / 3 + 100; ++i) pair.write("d/" + std::to_string(i), "x");  // three events each
  fs::rename(pair.at("d"), pair.at("renamed unheard"));
  pair.write("renamed unheard/late", "y");
  pair.write("e/unheard", "z");
  watcher.let_go();
  pair.follow_until_same();
}

TEST_F(file_stream, without_watches_scans_find_everything) {
  pair.source_options.watcher.most_watches = 2;
  pair.source_options.watcher.way = files::tree_watcher_options::watching::inotify_only;
  pair.source_options.watcher.scan_interval = milliseconds{20};
  for (const char* path : {"a/1", "b/1", "c/1", "d/1"}) pair.write(path, "1");
  pair.connect();
  pair.expect_same();
  EXPECT_FALSE(pair.source->is_watching());
  for (const char* path : {"a/1", "b/1", "c/2", "e/f/g"}) pair.write(path, "2");
  fs::remove_all(pair.at("d"));
  pair.follow_until_same();
}

TEST_F(file_stream, protected_databases_never_travel) {
  pair.source_options.what.exclude_databases = {pair.base() + "/data/app.db"};
  for (const char* path :
       {"data/app.db", "data/app.db-wal", "data/app.db-shm", "data/app.db-journal", "data/app.dbx"}) {
    pair.write(path, "x");
  }
  pair.connect();
  ASSERT_TRUE(pair.settle().ok());
  EXPECT_TRUE(fs::exists(pair.copy() + "/data/app.dbx"));
  EXPECT_EQ(std::distance(fs::directory_iterator(pair.copy() + "/data"), {}), 1);
}

// The path of a [[database]] may have wildcards: what appears there is about to be captured.
TEST_F(file_stream, databases_that_appear_later_never_travel) {
  pair.source_options.what.exclude_databases = {pair.base() + "/*/*.db"};
  pair.write("data/old.db", "x");
  pair.write("data/old.txt", "x");
  pair.connect();
  ASSERT_TRUE(pair.settle().ok());
  for (const char* path :
       {"data/new.db", "data/new.db-wal", "data/new.db-shm", "data/new.db-journal", "more/a.db"})
    pair.write(path, "x");
  pair.write("data/new.txt", "x");
  ASSERT_TRUE(wait_until(
      [&] {
        bool moved = false;
        EXPECT_TRUE(pair.step(moved).ok());
        return !moved && fs::exists(pair.copy() + "/data/new.txt") && fs::exists(pair.copy() + "/more");
      },
      std::chrono::seconds{20}));
  EXPECT_EQ(std::distance(fs::directory_iterator(pair.copy() + "/data"), {}), 2);
  EXPECT_FALSE(fs::exists(pair.copy() + "/more/a.db"));
}

TEST_F(file_stream, what_is_too_old_leaves_the_trash_though_nothing_is_deleted) {
  const std::string trash = pair.directory_->path() + "/.understudy-trash/files-0/";
  fs::create_directories(trash + "29000000");  // a minute of 2025
  std::ofstream(trash + "29000000/old") << "x";
  pair.write("a", "1");
  pair.connect();
  pair.expect_same();
  EXPECT_FALSE(fs::exists(trash + "29000000"));
}

TEST_F(file_stream, what_is_deleted_lies_in_the_trash) {
  pair.write("d/voicemail", "hello");
  pair.connect();
  pair.expect_same();
  fs::remove_all(pair.at("d"));
  pair.follow_until_same();
  std::vector<files::deleted_file> deleted;
  auto trash = files::deleted_files::open(os::posix_file_system(), pair.sink_options.tree,
                                          pair.sink_options.beside, pair.sink_options.name);
  ASSERT_TRUE(trash.ok()) << trash.status();
  ASSERT_TRUE(trash
                  ->list("",
                         [&](files::deleted_file&& file) {
                           deleted.push_back(std::move(file));
                           return true;
                         })
                  .ok());
  ASSERT_EQ(deleted.size(), 1U);
  EXPECT_EQ(deleted[0].path, "d/voicemail");
  EXPECT_EQ(deleted[0].size, 5U);
}

// Seen before its event: the file has the name of another one, and that one has gone.
TEST_F(file_stream, half_a_rename_is_waited_for_and_sends_no_content) {
  held_watcher watcher(pair.source_options.watcher);
  pair.write("d/1", std::string(1000, '1'));
  pair.write("d/2", std::string(1000, '2'));
  pair.connect();
  pair.expect_same();
  ASSERT_NO_FATAL_FAILURE(watcher.hold());
  pair.changes.clear();
  fs::rename(pair.at("d/1"), pair.at("d/t"));
  fs::rename(pair.at("d/2"), pair.at("d/1"));
  fs::rename(pair.at("d/t"), pair.at("d/2"));
  for (const char* path : {"d/1", "d/2", "d/t"})
    pair.source->dirty().mark(path, true, false, milliseconds{0});
  bool moved = false;
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(pair.step(moved).ok());
  EXPECT_EQ(pair.changes[v1::FileChange::kPut], 0);
  EXPECT_EQ(pair.changes[v1::FileChange::kRemove], 0);
  watcher.let_go();
  pair.follow_until_same();
  EXPECT_EQ(pair.changes[v1::FileChange::kRename], 3);
  EXPECT_EQ(pair.changes[v1::FileChange::kPut], 0);
}

// Nobody ever tells: it is not waited for without end.
TEST_F(file_stream, a_rename_that_no_event_tells_is_sent_all_the_same) {
  pair.source_options.watcher.most_watches = 1;
  pair.source_options.watcher.way = files::tree_watcher_options::watching::inotify_only;
  pair.source_options.watcher.scan_interval = std::chrono::hours{1};
  pair.write("d/1", "one");
  pair.write("d/2", "two");
  pair.connect();
  pair.expect_same();
  fs::remove(pair.at("d/2"));
  fs::rename(pair.at("d/1"), pair.at("d/2"));
  for (const char* path : {"d", "d/1", "d/2"}) pair.source->dirty().mark(path, true, false, milliseconds{0});
  pair.follow_until_same();
}

// The content says nothing about which names are one file.
TEST_F(file_stream, names_of_equal_content_are_linked_and_parted_as_they_are_here) {
  for (const char* path : {"a", "b", "c", "d"}) pair.write(path, "equal");
  ASSERT_EQ(::link(pair.at("c").c_str(), pair.at("e").c_str()), 0);
  pair.connect();
  pair.expect_same();
  fs::remove(pair.at("b"));
  ASSERT_EQ(::link(pair.at("a").c_str(), pair.at("b").c_str()), 0);
  fs::rename(pair.at("d"), pair.at("e"));
  pair.follow_until_same();
}

TEST_F(file_stream, an_exchange_of_equal_contents_takes_their_modes_along) {
  pair.write("a", "equal");
  pair.write("b", "equal");
  pair.connect();
  pair.expect_same();
  fs::permissions(pair.at("a"), fs::perms::owner_read);
  set_mtime(pair.at("b"), 1'600'000'000);
  ASSERT_EQ(::syscall(SYS_renameat2, AT_FDCWD, pair.at("a").c_str(), AT_FDCWD, pair.at("b").c_str(),
                      RENAME_EXCHANGE),
            0);
  pair.follow_until_same();
}

// A rename that happened while nobody listened is found by comparing: the listing knows paths, not files.
TEST_F(file_stream, what_was_renamed_during_a_cut_is_compared_as_it_lies) {
  pair.write("file", "a file");
  pair.write("d/below", "something");
  pair.connect();
  pair.expect_same();
  pair.connect();  // listens, and has not looked yet
  fs::remove(pair.at("file"));
  fs::create_directory(pair.at("file"));
  pair.write("file/inner", "inner");
  fs::remove_all(pair.at("d"));
  fs::rename(pair.at("file"), pair.at("d"));
  ASSERT_TRUE(wait_until([&] { return pair.source->dirty().empty() == false; }, std::chrono::seconds{10}));
  pair.expect_same();
}

// acl(5) as an attribute: version 2, then tag, permissions and id of each entry, little-endian.
std::string acl(std::initializer_list<std::array<std::uint32_t, 3>> entries) {
  std::string value("\2\0\0\0", 4);
  const auto add = [&](std::uint32_t number, int bytes) {
    for (int i = 0; i < bytes; ++i) value.push_back(static_cast<char>(number >> 8 * i & 0xff));
  };
  for (const auto& [tag, permissions, id] : entries) {
    add(tag, 2);
    add(permissions, 2);
    add(id, 4);
  }
  return value;
}

TEST_F(file_stream, access_lists_travel_and_go) {
  constexpr std::uint32_t nobody = 0xffffffff;  // of entries that name nobody
  const std::string list =
      acl({{1, 6, nobody}, {2, 4, 1234}, {4, 0, nobody}, {16, 4, nobody}, {32, 0, nobody}});
  const auto set = [&](const char* path, const char* name) {
    return ::setxattr(pair.at(path).c_str(), name, list.data(), list.size(), 0);
  };
  pair.write("file", "with an ACL");
  pair.write("d/older", "than the default");
  if (set("file", "system.posix_acl_access") != 0 && errno == EOPNOTSUPP) GTEST_SKIP() << "no ACLs here";
  ASSERT_EQ(set("d", "system.posix_acl_default"), 0);
  pair.write("d/newer", "inherits it");
  pair.connect();
  pair.expect_same();
  const std::unique_ptr<os::directory> copy = *os::posix_file_system().open_root(pair.copy());
  EXPECT_EQ(files::read_attributes_at(copy->descriptor(), "file").at("system.posix_acl_access"), list);
  EXPECT_TRUE(files::read_attributes_at(copy->descriptor(), "d/newer").contains("system.posix_acl_access"));
  ASSERT_EQ(::removexattr(pair.at("file").c_str(), "system.posix_acl_access"), 0);
  ASSERT_EQ(::removexattr(pair.at("d").c_str(), "system.posix_acl_default"), 0);
  pair.write("d/newest", "inherits nothing");
  pair.follow_until_same();
}

TEST_F(file_stream, sockets_and_pipes_are_left_out_and_named_once) {
  pair.write("d/file", "f");
  ASSERT_EQ(::mkfifo(pair.at("d/pipe").c_str(), 0600), 0);
  pair.connect();
  ASSERT_TRUE(pair.settle().ok());
  ASSERT_EQ(::mknod(pair.at("socket").c_str(), S_IFSOCK | 0600, 0), 0);
  ASSERT_TRUE(pair.settle().ok());
  pair.connect();
  ASSERT_TRUE(pair.settle().ok());
  EXPECT_EQ(pair.source->left_out(), (std::vector<std::string>{"d/pipe", "socket"}));
  fs::remove(pair.at("d/pipe"));
  fs::remove(pair.at("socket"));
  pair.expect_same();
}

}  // namespace
}  // namespace understudy::test
