#pragma once

// Pages in a TransactionPart: several in one `bytes`, plain or as one zstd frame.

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "common/channel/database_source.hpp"
#include "understudy/v1/database.pb.h"

namespace understudy::channel {

// Decides whether compressing pays, from samples of the data and from how fast the stream takes it: a wire
// that is faster than the compressor is better served with plain pages. Deterministic in its inputs.
class compression_gauge {
 public:
  // How long a message of this size took to send. Small ones say nothing and are left out.
  void sent(std::size_t bytes, double seconds);
  bool pays() const { return seconds_per_byte_ * (1.0 - ratio_) > 1.0 / COMPRESSOR_SPEED; }
  // True for one part in sixteen of a wire so slow that compressing might pay: measure() it.
  bool sample_due() { return seconds_per_byte_ > 1.0 / COMPRESSOR_SPEED && parts_++ % 16 == 0; }
  void measure(const std::string& pages);

 private:
  static constexpr double COMPRESSOR_SPEED = 250e6;  // bytes/s at level 1 on a slow core
  double seconds_per_byte_ = 0;                      // moving averages
  double ratio_ = 1;                                 // compressed / plain
  std::uint64_t parts_ = 0;
};

// Encodes what stands plain in `part.pages()`, if that makes it smaller.
void compress(v1::TransactionPart& part);

// The pages of a part that came from outside. Allocates no more than the part's page numbers account for, at
// most PART_BYTES or one page; kInvalidArgument for anything that does not fit together.
absl::StatusOr<std::vector<page_image>> decode_pages(const v1::TransactionPart& part);

}  // namespace understudy::channel
