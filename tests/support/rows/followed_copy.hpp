#pragma once

// A database that real SQLite writes, its copy, and the copy's history: what the row feed reads. Failures
// throw.

#include <memory>
#include <string>
#include <vector>

#include "agent-failover/history/keeper.hpp"
#include "agent-failover/replica/database_copy.hpp"
#include "tests/support/rows/recorder.hpp"
#include "tests/support/temporary_directory.hpp"

namespace understudy::rows::testing {

class followed_copy {
 public:
  explicit followed_copy(const recorder_options& options = {});

  // Runs the SQL and brings the whole database to the copy, by a heal.
  void begin(const std::string& sql);
  // One transaction, on both sides; durable in the copy on return.
  void run(const std::string& sql);
  // True when everything is in the history.
  bool wait_for_history();

  const std::shared_ptr<history::recorder>& past() const { return past_; }

 private:
  void add(const std::vector<std::uint32_t>& numbers);

  recorder primary_;
  test::temporary_directory place_{test::where::memory};
  history::keeper keeper_;
  std::shared_ptr<history::recorder> past_;
  std::unique_ptr<replica::database_copy> copy_;
  sqlite::page_hash_array hashes_;
  sqlite::page_hash register_;
  std::uint64_t number_ = 0;
};

}  // namespace understudy::rows::testing
