#pragma once

#include <string>

namespace understudy::test {

// A new directory of its own under $TMPDIR or /tmp, removed with everything in it by the destructor.
class temporary_directory {
 public:
  temporary_directory();
  ~temporary_directory();
  temporary_directory(const temporary_directory&) = delete;
  temporary_directory& operator=(const temporary_directory&) = delete;

  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

}  // namespace understudy::test
