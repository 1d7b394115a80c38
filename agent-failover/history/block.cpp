#include "agent-failover/history/block.hpp"

#include <fmt/core.h>
#include <zstd.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <utility>

#include "common/sqlite/wal_format.hpp"
#include "common/status/status_macros.hpp"

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace understudy::history {
namespace {

static_assert(std::endian::native == std::endian::little, "the log's integers are written as they are");

constexpr std::string_view segment_magic = "UnderHS1";
constexpr std::string_view block_magic = "UHb1";
constexpr std::uint8_t kind_index = 255;
constexpr std::uint8_t flag_last = 1;
constexpr std::uint8_t flag_estimated = 2;
constexpr std::uint8_t flag_compressed = 4;
constexpr std::size_t mark_bytes = 24;
constexpr int compression_level = 1;  // what keeps up with the apply path; level 3 gains a tenth

template <class T>
T load(std::span<const std::byte> bytes, std::size_t at) {
  T value;
  std::memcpy(&value, bytes.data() + at, sizeof value);
  return value;
}

template <class T>
void store(std::byte* bytes, std::size_t at, T value) {
  std::memcpy(bytes + at, &value, sizeof value);
}

std::int64_t to_ns(clock_time t) {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(t.time_since_epoch()).count();
}

clock_time from_ns(std::int64_t ns) {
  return clock_time(std::chrono::duration_cast<clock_time::duration>(std::chrono::nanoseconds(ns)));
}

absl::Status damaged(std::string_view what) {
  return absl::DataLossError(fmt::format("the history's log is damaged: {}", what));
}

bool ascending(std::span<const std::uint32_t> pages) {
  return std::adjacent_find(pages.begin(), pages.end(), std::greater_equal<>()) == pages.end() &&
         (pages.empty() || pages.front() != 0);
}

std::string assemble(const block& b, std::uint8_t kind, std::string_view payload) {
  std::string out(b.head_bytes() + payload.size(), '\0');
  auto* const p = reinterpret_cast<std::byte*>(out.data());
  const auto flags =
      static_cast<std::uint8_t>((b.last ? flag_last : 0) | (b.what.time_estimated ? flag_estimated : 0) |
                                (b.compressed ? flag_compressed : 0));
  std::memcpy(p, block_magic.data(), block_magic.size());
  store(p, 4, static_cast<std::uint32_t>(out.size()));
  store(p, 16, std::uint64_t{XXH3_64bits(payload.data(), payload.size())});
  store(p, 24, b.what.sequence);
  store(p, 32, kind);
  store(p, 33, flags);
  store(p, 36, static_cast<std::uint32_t>(b.imaged.size()));
  store(p, 40, static_cast<std::uint32_t>(b.listed.size()));
  store(p, 48, b.what.number);
  store(p, 56, to_ns(b.what.committed_at));
  store(p, 64, to_ns(b.what.applied_at));
  store(p, 72, b.what.page_size_before);
  store(p, 76, b.what.page_size);
  store(p, 80, b.what.pages_before);
  store(p, 84, b.what.pages);
  store(p, 88, b.what.register_before.high);
  store(p, 96, b.what.register_before.low);
  store(p, 104, b.what.register_after.high);
  store(p, 112, b.what.register_after.low);
  std::byte* const table = p + block_header_bytes;
  if (!b.imaged.empty()) std::memcpy(table, b.imaged.data(), 4 * b.imaged.size());
  if (!b.listed.empty()) std::memcpy(table + 4 * b.imaged.size(), b.listed.data(), 4 * b.listed.size());
  std::memcpy(p + b.head_bytes(), payload.data(), payload.size());
  store(p, 8, std::uint64_t{XXH3_64bits_withSeed(p + 16, b.head_bytes() - 16, out.size())});
  return out;
}

}  // namespace

std::array<std::byte, segment_header_bytes> encode(const segment_header& header) {
  std::array<std::byte, segment_header_bytes> bytes{};
  std::memcpy(bytes.data(), segment_magic.data(), segment_magic.size());
  store(bytes.data(), 8, header.first);
  store(bytes.data(), 16, to_ns(header.before_committed_at));
  store(bytes.data(), 24, to_ns(header.before_applied_at));
  store(bytes.data(), 40, std::uint64_t{XXH3_64bits(bytes.data(), 40)});
  return bytes;
}

std::optional<segment_header> parse_segment_header(std::span<const std::byte> bytes) {
  if (bytes.size() < segment_header_bytes) return std::nullopt;
  if (std::memcmp(bytes.data(), segment_magic.data(), segment_magic.size()) != 0) return std::nullopt;
  if (load<std::uint64_t>(bytes, 40) != XXH3_64bits(bytes.data(), 40)) return std::nullopt;
  segment_header header;
  header.first = load<std::uint64_t>(bytes, 8);
  header.before_committed_at = from_ns(load<std::int64_t>(bytes, 16));
  header.before_applied_at = from_ns(load<std::int64_t>(bytes, 24));
  if (header.first == 0) return std::nullopt;
  return header;
}

absl::StatusOr<std::size_t> head_bytes_of(std::span<const std::byte> header) {
  if (header.size() < block_header_bytes) return damaged("a block is cut short");
  if (std::memcmp(header.data(), block_magic.data(), block_magic.size()) != 0) return damaged("no block");
  const auto bytes = load<std::uint32_t>(header, 4);
  const auto imaged = load<std::uint32_t>(header, 36);
  const auto listed = load<std::uint32_t>(header, 40);
  if (imaged > largest_images / 512 || listed > most_listed) return damaged("a block of too many pages");
  const std::size_t head = block_header_bytes + 4 * (std::size_t{imaged} + listed);
  if (bytes < head || bytes > largest_block) return damaged("a block of an impossible size");
  return head;
}

absl::StatusOr<block> parse_block_head(std::span<const std::byte> head) {
  UNDERSTUDY_ASSIGN_OR_RETURN(const std::size_t head_bytes, head_bytes_of(head));
  if (head.size() < head_bytes) return damaged("a block is cut short");
  const auto bytes = load<std::uint32_t>(head, 4);
  if (load<std::uint64_t>(head, 8) != XXH3_64bits_withSeed(head.data() + 16, head_bytes - 16, bytes)) {
    return damaged("a block's checksum is wrong");
  }
  block b;
  b.bytes = bytes;
  b.payload_checksum = load<std::uint64_t>(head, 16);
  b.what.sequence = load<std::uint64_t>(head, 24);
  const auto kind = load<std::uint8_t>(head, 32);
  const auto flags = load<std::uint8_t>(head, 33);
  b.last = (flags & flag_last) != 0;
  b.what.time_estimated = (flags & flag_estimated) != 0;
  b.compressed = (flags & flag_compressed) != 0;
  b.index = kind == kind_index;
  const auto imaged = load<std::uint32_t>(head, 36);
  const auto listed = load<std::uint32_t>(head, 40);
  b.what.number = load<std::uint64_t>(head, 48);
  b.what.committed_at = from_ns(load<std::int64_t>(head, 56));
  b.what.applied_at = from_ns(load<std::int64_t>(head, 64));
  b.what.page_size_before = load<std::uint32_t>(head, 72);
  b.what.page_size = load<std::uint32_t>(head, 76);
  b.what.pages_before = load<std::uint32_t>(head, 80);
  b.what.pages = load<std::uint32_t>(head, 84);
  b.what.register_before = {load<std::uint64_t>(head, 88), load<std::uint64_t>(head, 96)};
  b.what.register_after = {load<std::uint64_t>(head, 104), load<std::uint64_t>(head, 112)};
  b.imaged.resize(imaged);
  b.listed.resize(listed);
  if (imaged != 0) std::memcpy(b.imaged.data(), head.data() + block_header_bytes, 4 * b.imaged.size());
  if (listed != 0) {
    std::memcpy(b.listed.data(), head.data() + block_header_bytes + 4 * b.imaged.size(), 4 * b.listed.size());
  }
  if (b.index) return imaged == 0 && listed == 0 ? absl::StatusOr<block>(std::move(b)) : damaged("an index");
  if (kind < static_cast<std::uint8_t>(change_kind::begin) ||
      kind > static_cast<std::uint8_t>(change_kind::heal) || b.what.sequence == 0) {
    return damaged("a block of an unknown kind");
  }
  b.what.kind = static_cast<change_kind>(kind);
  if (!sqlite::valid_page_size(b.what.page_size)) return damaged("an impossible page size");
  if (b.what.kind == change_kind::begin) {
    if (imaged != 0 || listed != 0 || !b.last || b.payload_bytes() > longest_reason)
      return damaged("a beginning");
    return b;
  }
  if (!sqlite::valid_page_size(b.what.page_size_before)) return damaged("an impossible page size");
  if (std::uint64_t{imaged} * b.what.page_size_before > largest_images) return damaged("too many images");
  if (!ascending(b.imaged) || !ascending(b.listed) ||
      (!b.imaged.empty() && b.imaged.back() > b.what.pages_before) ||
      (!b.listed.empty() && b.listed.back() > b.what.pages)) {
    return damaged("impossible page numbers");
  }
  return b;
}

absl::StatusOr<std::string> images_of(const block& b, std::span<const std::byte> payload) {
  if (payload.size() != b.payload_bytes() ||
      XXH3_64bits(payload.data(), payload.size()) != b.payload_checksum) {
    return damaged("the checksum of before-images is wrong");
  }
  const std::size_t plain = b.imaged.size() * b.what.page_size_before;
  std::string images(plain, '\0');
  if (!b.compressed) {
    if (payload.size() != plain) return damaged("before-images of another size");
    if (plain != 0) std::memcpy(images.data(), payload.data(), plain);
    return images;
  }
  const std::size_t got = ZSTD_decompress(images.data(), plain, payload.data(), payload.size());
  if (ZSTD_isError(got) != 0 || got != plain) return damaged("before-images cannot be decompressed");
  return images;
}

absl::StatusOr<std::string> reason_of(const block& b, std::span<const std::byte> payload) {
  if (b.index || b.what.kind != change_kind::begin || payload.size() != b.payload_bytes() ||
      XXH3_64bits(payload.data(), payload.size()) != b.payload_checksum) {
    return damaged("the reason of a beginning");
  }
  return std::string(reinterpret_cast<const char*>(payload.data()), payload.size());
}

absl::StatusOr<std::vector<mark>> marks_of(const block& b, std::span<const std::byte> payload) {
  if (!b.index || payload.size() != b.payload_bytes() || payload.size() % mark_bytes != 0 ||
      XXH3_64bits(payload.data(), payload.size()) != b.payload_checksum) {
    return damaged("an index");
  }
  std::vector<mark> marks;
  marks.reserve(payload.size() / mark_bytes);
  for (std::size_t at = 0; at < payload.size(); at += mark_bytes) {
    marks.push_back({load<std::uint64_t>(payload, at), load<std::uint64_t>(payload, at + 8),
                     from_ns(load<std::int64_t>(payload, at + 16))});
    const bool grows = marks.size() == 1 || (marks[marks.size() - 2].sequence < marks.back().sequence &&
                                             marks[marks.size() - 2].offset < marks.back().offset);
    if (!grows) return damaged("an index");
  }
  return marks;
}

std::string encode_block(block b, std::string_view images, bool compress) {
  std::string packed;
  if (compress && !images.empty()) {
    packed.resize(ZSTD_compressBound(images.size()));
    const std::size_t n =
        ZSTD_compress(packed.data(), packed.size(), images.data(), images.size(), compression_level);
    packed.resize(ZSTD_isError(n) == 0 && n < images.size() ? n : 0);
  }
  b.compressed = !packed.empty();
  return assemble(b, static_cast<std::uint8_t>(b.what.kind), b.compressed ? packed : images);
}

std::string encode_begin(const change& what, std::string_view reason) {
  block b;
  b.what = what;
  b.what.kind = change_kind::begin;
  b.last = true;
  return assemble(b, static_cast<std::uint8_t>(change_kind::begin), reason.substr(0, longest_reason));
}

std::string encode_index(std::uint64_t last, std::span<const mark> marks) {
  std::string payload(marks.size() * mark_bytes, '\0');
  auto* const p = reinterpret_cast<std::byte*>(payload.data());
  for (std::size_t i = 0; i < marks.size(); ++i) {
    store(p, i * mark_bytes, marks[i].sequence);
    store(p, i * mark_bytes + 8, marks[i].offset);
    store(p, i * mark_bytes + 16, to_ns(marks[i].latest));
  }
  block b;
  b.what.sequence = last;
  b.last = true;
  return assemble(b, kind_index, payload);
}

}  // namespace understudy::history
