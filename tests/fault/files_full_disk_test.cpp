// A receiver whose disk is full: nothing half is seen, it is said, and it goes on when there is room.

#include <gtest/gtest.h>
#include <sys/mount.h>

#include <random>

#include "tests/support/files_pair.hpp"
#include "tests/support/wait.hpp"

namespace understudy::test {
namespace {

namespace fs = std::filesystem;

TEST(file_full_disk, refuses_and_goes_on_when_there_is_room) {
  file_pair pair;
  const std::string disk = pair.directory_->path() + "/root";
  fs::create_directories(disk);
  if (::mount("tmpfs", disk.c_str(), "tmpfs", 0, "size=1m") != 0) GTEST_SKIP() << "may not mount";
  struct unmount {
    std::string where;
    ~unmount() { ::umount2(where.c_str(), MNT_DETACH); }
  } at_the_end{disk};
  std::string bytes(400'000, '\0');
  std::mt19937 random(1);
  for (char& c : bytes) c = static_cast<char>(random());
  std::ofstream(disk + "/in the way") << bytes << bytes;
  pair.write("a", bytes);
  pair.write("b", "small");
  pair.connect();
  const auto step = [&] {
    bool moved = false;
    const absl::Status stepped = pair.step(moved);
    EXPECT_TRUE(stepped.ok()) << message_of(stepped);
  };
  ASSERT_TRUE(wait_until(
      [&] {
        step();
        return pair.sending->progress().refused > 0;
      },
      std::chrono::seconds{10}));
  EXPECT_FALSE(fs::exists(pair.copy() + "/a")) << "no partial file may be seen";
  EXPECT_FALSE(pair.sending->progress().reason.empty());
  fs::remove(disk + "/in the way");
  EXPECT_TRUE(wait_until(
      [&] {
        step();
        return tree_differences(pair.base(), pair.copy()).empty();
      },
      std::chrono::seconds{10}))
      << ::testing::PrintToString(tree_differences(pair.base(), pair.copy()));
  EXPECT_TRUE(fs::is_empty(pair.copy() + "/.understudy-staging/staging"));
  pair.disconnect();
  pair.sink.reset();
}

}  // namespace
}  // namespace understudy::test
