#include "tests/support/temporary_directory.hpp"

#include <cstdio>
#include <cstdlib>
#include <filesystem>

namespace understudy::test {

temporary_directory::temporary_directory(where place) {
  const char* base = std::getenv("TMPDIR");
  std::string at = base != nullptr ? base : "/tmp";
  if (place == where::memory && std::filesystem::is_directory("/dev/shm")) at = "/dev/shm";
  path_ = at + "/understudy-test-XXXXXX";
  if (::mkdtemp(path_.data()) == nullptr) {
    std::perror("mkdtemp");
    std::abort();
  }
}

temporary_directory::~temporary_directory() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

}  // namespace understudy::test
