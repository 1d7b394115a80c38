#include "tests/support/temporary_directory.hpp"

#include <cstdio>
#include <cstdlib>
#include <filesystem>

namespace understudy::test {

temporary_directory::temporary_directory() {
  const char* base = std::getenv("TMPDIR");
  path_ = std::string(base != nullptr ? base : "/tmp") + "/understudy-test-XXXXXX";
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
