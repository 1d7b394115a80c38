#pragma once

// A row's payload, over its overflow pages, and the record in it:
// https://sqlite.org/fileformat2.html#record_format

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/rows/btree_page.hpp"
#include "common/rows/image.hpp"
#include "common/rows/value.hpp"

namespace understudy::rows {

// Reads a payload from front to back. `from` outlives it.
class payload_reader {
 public:
  payload_reader(image& from, image::page page, const cell& c);

  std::uint64_t left() const { return left_; }
  // The next piece, at most `limit` bytes and at least one; empty at the end. Valid until the next call.
  absl::StatusOr<std::string_view> next(std::uint64_t limit);
  // Exactly `size` bytes, appended to `out`.
  absl::Status read(std::uint64_t size, std::string& out);

 private:
  image& from_;
  image::page page_;
  std::string_view piece_;
  std::uint64_t left_;
  std::uint32_t overflow_;
};

// True when both payloads have the same bytes.
absl::StatusOr<bool> same_payload(payload_reader a, payload_reader b);

// The first `most_columns` values of the record. Texts and blobs of more than `largest_value` bytes are
// omitted. Memory is bounded by what is really there, never by what a header claims.
absl::StatusOr<std::vector<value>> read_record(payload_reader payload, encoding text,
                                               std::size_t most_columns, std::uint64_t largest_value);

}  // namespace understudy::rows
