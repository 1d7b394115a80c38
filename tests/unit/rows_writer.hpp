#pragma once

// An application that nobody would write: random tables, random rows, random changes of both, all from one
// seed.

#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "tests/support/rows/recorder.hpp"

namespace understudy::rows::testing {

class random_writer {
 public:
  struct habits {
    bool ddl = true;
    bool nul_bytes = true;    // in texts
    bool blob_writes = true;  // through sqlite3_blob, which fires no trigger
  };
  random_writer(recorder& database, std::uint64_t seed, habits how)
      : db_(database), random_(seed), how_(how) {}

  void create_table();
  // One transaction (or VACUUM, or a checkpoint); it may change nothing.
  void transaction();

 private:
  struct column {
    std::string name;  // quoted
    bool writable = true;
  };
  struct target {
    std::string name;  // quoted
    std::string plain;
    bool has_rowid = true;
    std::vector<column> columns;
    std::string any_writable(random_writer& by) const;
  };

  std::uint64_t below(std::uint64_t n) {
    return std::uniform_int_distribution<std::uint64_t>(0, n - 1)(random_);
  }
  bool one_in(std::uint64_t n) { return below(n) == 0; }
  template <std::size_t N>
  const char* any(const char* const (&of)[N]) {
    return of[below(N)];
  }
  std::string text(std::size_t longest);
  std::string value();
  std::string some_rows(const target& t);
  const std::vector<target>& targets();

  void change_rows();
  void insert(const target& t);
  void update(const target& t);
  void write_into_blob(const target& t);
  void change_schema();

  recorder& db_;
  std::mt19937_64 random_;
  habits how_;
  std::vector<target> targets_;  // empty: to be read again
  int names_ = 0;
};

}  // namespace understudy::rows::testing
