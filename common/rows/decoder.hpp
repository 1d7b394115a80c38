#pragma once

// Transactions as changes of rows, from the pages alone. Nothing here opens a database; whatever a page says
// is checked, and damage is an error value.
//
// A row is told by its rowid, in a WITHOUT ROWID table by its key: a row that got another one is a removal
// and an insertion. Writes that left all values as they were are not reported, and of ALTER TABLE only what
// it made of the schema: a column added or dropped is no change of the rows. Values of GENERATED ... VIRTUAL
// columns are in no page. Internal tables (sqlite_sequence, sqlite_stat1) and the tables behind virtual
// tables are tables like others.
//
// The order is the same each time: tables by name (the table's own create or alter before its rows, its drop
// after them), then indexes, views and triggers; rows ascending by rowid or key.

#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/rows/change.hpp"
#include "common/rows/page_owners.hpp"
#include "common/rows/page_source.hpp"
#include "common/rows/schema.hpp"

namespace understudy::rows {

struct decoder_options {
  std::uint64_t largest_value = 1 << 20;   // bytes; a longer text or blob is omitted
  std::uint32_t rows_at_once = 256 << 10;  // of a WITHOUT ROWID table, in memory; more are read several times
};

// Takes a change; an error ends the decoding of this transaction.
using change_sink = std::function<absl::Status(change)>;
// True when the rows of the table are wanted; all else costs next to nothing.
using table_filter = std::function<bool(const std::string&)>;

// Threads: one at a time.
class decoder {
 public:
  // Reads every page that belongs to a table once, and keeps five bytes for each.
  static absl::StatusOr<decoder> open(page_source& at, decoder_options options = {});

  // The step from one image to the next: `before` is what the last call (or open()) ended with; `changed` the
  // pages that may differ, in any order. An error of the sink comes back as it is, and the decoder is past
  // this step; kDataLoss, or an error of a source: it is of no use any more.
  absl::Status decode(page_source& before, page_source& after, std::span<const std::uint32_t> changed,
                      const change_sink& sink, const table_filter& wanted = nullptr);

 private:
  explicit decoder(decoder_options options) : options_(options) {}

  decoder_options options_;
  std::shared_ptr<const schema> schema_;
  std::shared_ptr<const tree_roots> roots_;  // owners: places in schema_->tables
  page_owners owners_;
};

}  // namespace understudy::rows
