#pragma once

// What the history of a database knows of one step from a state to the next. States are numbered: change n
// leads from state n - 1 to state n. Numbers grow by one and are never used again; where the history was
// interrupted they go on, and no state before the interruption can be had any more.

#include <chrono>
#include <cstdint>

#include "common/sqlite/page_hash.hpp"

namespace understudy::history {

using clock_time = std::chrono::system_clock::time_point;

enum class change_kind : std::uint8_t {
  begin = 1,        // the history begins at this state; nothing before it can be had
  transaction = 2,  // one transaction of the primary
  heal = 3,         // the copy was brought equal to the primary: any number of transactions at once
};

struct change {
  std::uint64_t sequence = 0;  // n: of the state that it leads to
  change_kind kind = change_kind::transaction;
  bool time_estimated = false;  // it was found after a crash: it happened between its predecessor's time and
                                // this one
  std::uint64_t number = 0;     // the transaction's number at its source, which restarts with its agent
  clock_time committed_at;      // when the primary saw the commit, by its clock; of heals: by the host's
  clock_time applied_at;        // when it was durable here, by the host's clock
  std::uint32_t page_size_before = 0;  // bytes
  std::uint32_t page_size = 0;
  std::uint32_t pages_before = 0;  // size of the database
  std::uint32_t pages = 0;
  sqlite::page_hash register_before;  // XOR over the hashes of all pages
  sqlite::page_hash register_after;
};

}  // namespace understudy::history
