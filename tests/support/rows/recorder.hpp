#pragma once

// A database that real SQLite writes, in WAL mode, and the images before and after each of its transactions,
// taken from the frames.

#include <sqlite3.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "common/rows/page_source.hpp"
#include "tests/support/temporary_directory.hpp"

namespace understudy::rows::testing {

// An image in memory.
class pages final : public page_source {
 public:
  std::uint32_t page_size() const override { return size; }
  std::uint32_t page_count() const override { return static_cast<std::uint32_t>(content.size()); }
  absl::Status read_page(std::uint32_t number, std::span<std::byte> page) override;

  std::uint32_t size = 0;
  std::vector<std::shared_ptr<const std::string>> content;  // by number - 1
};

struct recorder_options {
  int page_size = 1024;
  std::string encoding = "UTF-8";
  int auto_vacuum = 0;
  int reserved = 0;  // bytes of each page
};

class recorder {
 public:
  explicit recorder(const recorder_options& options);
  ~recorder();

  sqlite3* connection() const { return connection_; }
  // False, and the error in `error`, when SQLite refuses.
  bool execute(const std::string& sql);
  std::string error;

  // Moves the images on by what was committed since the last call. False: nothing was.
  bool step();
  pages before;
  pages after;
  std::vector<std::uint32_t> changed;

 private:
  void restart_log();

  test::temporary_directory directory_{test::where::memory};
  std::string path_;
  sqlite3* connection_ = nullptr;
  int frames_ = 0;  // in the -wal, as SQLite says
  int read_ = 0;
};

}  // namespace understudy::rows::testing
