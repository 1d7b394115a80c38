#pragma once

#include <string>

namespace understudy::test {

enum class where {
  disk,    // $TMPDIR or /tmp
  memory,  // /dev/shm where there is one: for files whose syncs need not cost anything
};

// A new directory of its own, removed with everything in it by the destructor.
class temporary_directory {
 public:
  explicit temporary_directory(where place = where::disk);
  ~temporary_directory();
  temporary_directory(const temporary_directory&) = delete;
  temporary_directory& operator=(const temporary_directory&) = delete;

  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

}  // namespace understudy::test
