#pragma once

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <random>
#include <string>

namespace understudy::test {

namespace fs = std::filesystem;

// Everything that can happen to a tree, at random, with no regard for who watches.
class random_changes {
 public:
  random_changes(std::string base, unsigned seed) : base_(std::move(base)), random_(seed) {}

  void one() {
    std::error_code e;
    const std::string a = any();
    const std::string b = any();
    switch (pick(18)) {
      case 0:
      case 1:
      case 2:
        fs::create_directories(fs::path(a).parent_path(), e);
        std::ofstream(a, std::ios::binary) << std::string(static_cast<std::size_t>(pick(3000)), letter());
        break;
      case 3:
        std::ofstream(a, std::ios::app | std::ios::binary)
            << std::string(static_cast<std::size_t>(pick(500)), letter());
        break;
      case 4:
        (void)!::truncate(a.c_str(), pick(2000));
        break;
      case 5:
      case 6:
        ::rename(a.c_str(), b.c_str());
        break;
      case 7:
        fs::remove(a, e);
        break;
      case 8:
        fs::remove_all(a, e);
        break;
      case 9:
        fs::create_directory(a, e);
        break;
      case 10:
        fs::create_symlink(pick(2) != 0 ? "../x" : b, a, e);
        break;
      case 11:
        (void)!::link(a.c_str(), b.c_str());
        break;
      case 12:
        if (!fs::is_symlink(a, e)) ::chmod(a.c_str(), static_cast<mode_t>(0600 + pick(8) * 8 + pick(8)));
        break;
      case 13: {
        const timespec times[2] = {{1'600'000'000 + pick(3), 0}, {1'600'000'000 + pick(3), 0}};
        ::utimensat(AT_FDCWD, a.c_str(), times, AT_SYMLINK_NOFOLLOW);
        break;
      }
      case 14:  // file <-> directory
        fs::remove_all(a, e);
        if (pick(2) != 0) {
          fs::create_directories(a + "/n0/n1", e);
        } else {
          std::ofstream(a) << "was a directory";
        }
        break;
      case 15:
        if (pick(2) != 0) {
          ::setxattr(a.c_str(), "user.random", "value", static_cast<std::size_t>(pick(6)), 0);
        } else {
          (void)!::lchown(a.c_str(), static_cast<uid_t>(pick(3)), static_cast<gid_t>(pick(3)));
        }
        break;
      case 16:  // travels in pieces, with a hole; and only now and then
        if (pick(8) == 0 && fs::is_regular_file(fs::symlink_status(a, e))) {
          std::fstream file(a, std::ios::binary | std::ios::in | std::ios::out);
          file.seekp(pick(2) * 200'000);
          file << std::string(static_cast<std::size_t>(200'000 + pick(1'500'000)), letter());
        }
        break;
      default:  // exchange
        ::syscall(SYS_renameat2, AT_FDCWD, a.c_str(), AT_FDCWD, b.c_str(), 2);
        break;
    }
  }

 private:
  int pick(int n) { return static_cast<int>(random_() % static_cast<unsigned>(n)); }
  char letter() { return static_cast<char>('a' + pick(26)); }
  std::string any() {
    std::string path = base_;
    for (int depth = 1 + pick(3); depth > 0; --depth) path += "/n" + std::to_string(pick(5));
    return path;
  }
  std::string base_;
  std::mt19937 random_;
};

}  // namespace understudy::test
