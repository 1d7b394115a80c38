#pragma once

// The bytes of a history's log. A segment file is a header and then blocks; a change is one block or, when
// its before-images do not fit into one, several in a row with the same sequence, the last of which says so.
// Integers are little-endian. Pure functions; what they are given may be anything (a torn write, a damaged
// disk), and costs no more memory than one block.
//
// Segment header, 48 bytes:
//    0  8  "UnderHS1"                   8  8  sequence of the first change
//   16  8  time of the change before it, 24 8 and when it was applied (ns since 1970)
//   32  8  0                            40 8  XXH3-64 of the bytes before
// Block header, 120 bytes, then page numbers (4 bytes each, ascending: first those with a before-image, then
// those without one), then the payload: the before-images in that order, as one zstd frame or plain.
//    0  4  "UHb1"                        4  4  bytes of the whole block
//    8  8  XXH3-64 of 16... up to the payload, seeded with the block's bytes
//   16  8  XXH3-64 of the payload
//   24  8  sequence                     32  1  kind   33 1 flags (1 last, 2 time estimated, 4 compressed)
//   34  2  0                            36  4  pages with a before-image    40 4 pages without
//   44  4  0                            48  8  transaction number
//   56  8  committed at, 64 8 applied at (ns since 1970)
//   72  4  page size before, 76 4 after  80 4  pages before, 84 4 after
//   88 16  register before (high, low), 104 16 after
// The payload of a `begin` is the reason in words, of an `index` (at the end of a complete segment) the
// marks.

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "agent-failover/history/change.hpp"

namespace understudy::history {

inline constexpr std::size_t segment_header_bytes = 48;
inline constexpr std::size_t block_header_bytes = 120;
inline constexpr std::size_t largest_images = 256 << 10;  // bytes of a block's before-images, plain: what one
                                                          // page costs to read when only it is wanted
inline constexpr std::uint32_t most_listed = 32 << 10;    // pages without an image in one block
inline constexpr std::size_t largest_block = 1 << 20;     // bytes; also of an index
inline constexpr std::size_t longest_reason = 1000;       // bytes of a `begin`'s text

struct segment_header {
  std::uint64_t first = 0;
  clock_time before_committed_at;  // of change `first` - 1: when the segment's first state began to hold
  clock_time before_applied_at;
};
std::array<std::byte, segment_header_bytes> encode(const segment_header& header);
std::optional<segment_header> parse_segment_header(std::span<const std::byte> bytes);

// A place in a complete segment where a change begins. `latest`: the newest commit time of the changes from
// here up to the next mark.
struct mark {
  std::uint64_t sequence = 0;
  std::uint64_t offset = 0;
  clock_time latest;
};

struct block {
  change what;
  bool last = false;   // of its change
  bool index = false;  // not a change: the payload has the marks
  bool compressed = false;
  std::uint32_t bytes = 0;  // the whole block
  std::uint64_t payload_checksum = 0;
  std::vector<std::uint32_t> imaged;  // pages with a before-image, ascending
  std::vector<std::uint32_t> listed;  // pages that are new, without one, ascending

  std::size_t head_bytes() const { return block_header_bytes + 4 * (imaged.size() + listed.size()); }
  std::size_t payload_bytes() const { return bytes - head_bytes(); }
};

// How many bytes of a block have to be there for parse_block_head(): header and page numbers. kDataLoss when
// it is no block.
absl::StatusOr<std::size_t> head_bytes_of(std::span<const std::byte> header);
// `head` has at least head_bytes_of() bytes. kDataLoss for whatever does not fit together.
absl::StatusOr<block> parse_block_head(std::span<const std::byte> head);
// The before-images, one after the other in the order of `imaged`. kDataLoss when damaged.
absl::StatusOr<std::string> images_of(const block& b, std::span<const std::byte> payload);
// The text of a `begin`.
absl::StatusOr<std::string> reason_of(const block& b, std::span<const std::byte> payload);
absl::StatusOr<std::vector<mark>> marks_of(const block& b, std::span<const std::byte> payload);

// `b.what`, `last`, `imaged` and `listed` say what; `images` has one page of page_size_before bytes per
// imaged page.
std::string encode_block(block b, std::string_view images, bool compress);
std::string encode_begin(const change& what, std::string_view reason);
std::string encode_index(std::uint64_t last, std::span<const mark> marks);

}  // namespace understudy::history
