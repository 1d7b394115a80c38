#pragma once

// A history of real SQLite commits as page images, and the check that a copy shows one of its states.

#include <cstdint>
#include <string>
#include <vector>

#include "agent-failover/replica/database_copy.hpp"
#include "common/channel/database_source.hpp"
#include "common/sqlite/database.hpp"
#include "common/sqlite/page_hash.hpp"

namespace understudy::test {

// After transaction n (state 0 is the start) the single row of table `marker` says n, and table `t` has what
// `expected[n]` says. Transactions insert, update, delete, now and then many rows, so that the database grows
// and (incremental vacuum) shrinks.
struct history {
  std::uint32_t page_size = 0;
  std::vector<std::string> start;                           // pages of state 0
  std::vector<channel::captured_transaction> transactions;  // [n - 1] leads from state n - 1 to n
  std::vector<std::string> expected;                        // [n]: digest of table t
  std::vector<sqlite::page_hash> registers;                 // [n]
  std::vector<std::uint32_t> pages;                         // [n]

  std::size_t size() const { return transactions.size(); }
  // Every page of state n.
  std::vector<channel::page_image> image(std::size_t n) const;
  // The state with this register; -1 when there is none.
  int find(const sqlite::page_hash& combined) const;
};

struct history_options {
  std::size_t transactions = 40;
  std::uint32_t page_size = 4096;
  bool wal_header = true;  // false: the source is in rollback-journal mode, and its header says so
  std::uint64_t seed = 1;
};
history make_history(const history_options& options);

// What stock SQLite finds in the database at `path`.
struct finding {
  std::int64_t marker = -1;
  std::string error;  // empty: opens, integrity_check ok, table t is what the marker says
};
finding inspect(sqlite::database& d, const history& h, bool integrity = true);
finding inspect(const std::string& path, const history& h, bool integrity = true);

// Steps by which tests drive a copy.
absl::Status apply(replica::database_copy& copy, const history& h, std::size_t n);  // ends transaction n
absl::Status heal(replica::database_copy& copy, const history& h, std::size_t n, channel::heal_way way);

}  // namespace understudy::test
