#pragma once

// Row changes of one database, transaction after transaction, out of its history. It reads at its own pace:
// nothing waits for it, and what it has not read yet lies in the history's log. Threads: one at a time.

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "agent-failover/history/database_history.hpp"
#include "agent-failover/rows/row_cursor.hpp"
#include "common/rows/decoder.hpp"

namespace understudy::rows {

// What a reader asked for; an empty function: everything.
struct row_choice {
  table_filter tables;
  std::uint64_t tables_hash = 0;  // tells two choices of tables apart
  std::function<bool(change_kind)> kinds;
  std::function<bool()> go_on;  // asked at every page: false ends a call with kCancelled
};

class row_follower {
 public:
  // `done` is where the reader stands once he has this change.
  using sink =
      std::function<absl::Status(const history::change& transaction, change what, const position& done)>;

  row_follower(std::string catalog, std::shared_ptr<history::database_history> past, row_choice wanted);
  ~row_follower();

  // Before the first step(): goes on from there. kOutOfRange: that state is not to be had any more, or was
  // another one; the message says what to do.
  absl::Status resume(const position& from);
  // Before the first step(): begins at the oldest state there is. Without either it begins at the newest.
  absl::Status begin_at_oldest();

  // The changes of the next transaction, if there is one: true. False: there is none yet, or no history yet.
  // The first call that finds a history reads the whole image once. kOutOfRange: the reader was overtaken, or
  // the history interrupted, and must begin anew.
  absl::StatusOr<bool> step(const sink& take);

  // Empty before the first state was there.
  std::optional<position> at() const;
  // The history does not go back any more to where the reader stands; what it holds is kept on the disk for
  // him. Threads: any.
  bool overtaken() const;

 private:
  absl::Status open(std::uint64_t state);
  absl::Status lost(const absl::Status& why) const;

  const std::string catalog_;
  const std::shared_ptr<history::database_history> past_;
  const row_choice wanted_;
  std::unique_ptr<history::view> before_;
  std::unique_ptr<history::view> after_;
  std::optional<decoder> decoder_;
  std::optional<position> at_;
  std::atomic<std::uint64_t> state_{0};
};

}  // namespace understudy::rows
