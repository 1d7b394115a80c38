#include "common/rows/record.hpp"

#include <fmt/core.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <algorithm>
#include <bit>

#include "common/status/status_macros.hpp"

namespace understudy::rows {
namespace {

constexpr std::uint64_t longest_header = 1 << 20;  // bytes; 32,767 columns of 9 bytes are less

std::uint64_t size_of(std::uint64_t serial_type) {
  static constexpr std::uint8_t fixed[] = {0, 1, 2, 3, 4, 6, 8, 8, 0, 0};
  if (serial_type < 10) return fixed[serial_type];
  return serial_type < 12 ? 0 : (serial_type - 12) / 2;
}

std::int64_t integer_of(std::string_view bytes) {
  std::uint64_t number = static_cast<signed char>(bytes[0]) < 0 ? ~std::uint64_t{0} : 0;
  for (const char c : bytes) number = number << 8 | static_cast<unsigned char>(c);
  return static_cast<std::int64_t>(number);
}

std::string in_utf8(std::string bytes, encoding text) {
  return text == encoding::utf8 ? std::move(bytes) : utf8_of_utf16(bytes, text == encoding::utf16be);
}

absl::StatusOr<value> omitted(payload_reader& payload, std::uint64_t size, bool text) {
  XXH3_state_t state;
  XXH3_64bits_reset(&state);
  for (std::uint64_t left = size; left > 0;) {
    UNDERSTUDY_ASSIGN_OR_RETURN(const std::string_view piece, payload.next(left));
    if (piece.empty()) return corrupt("a row that ends early");
    XXH3_64bits_update(&state, piece.data(), piece.size());
    left -= piece.size();
  }
  return omitted_value{.text = text, .size = size, .hash = XXH3_64bits_digest(&state)};
}

absl::StatusOr<value> read_value(payload_reader& payload, std::uint64_t type, encoding text,
                                 std::uint64_t largest) {
  const std::uint64_t size = size_of(type);
  if (size > payload.left()) return corrupt("a value past its row's end");
  if (type >= 12 && size > largest) return omitted(payload, size, type % 2 == 1);
  std::string bytes;
  UNDERSTUDY_RETURN_IF_ERROR(payload.read(size, bytes));
  switch (type) {
    case 0:
      return value();
    case 7: {
      const double real = std::bit_cast<double>(integer_of(bytes));
      return real == real ? value(real) : value();  // a NaN is NULL to SQLite
    }
    case 8:
      return value(std::int64_t{0});
    case 9:
      return value(std::int64_t{1});
    case 10:
    case 11:
      return corrupt(fmt::format("a value of type {}", type));
    default:
      break;
  }
  if (type < 7) return value(integer_of(bytes));
  if (type % 2 == 0) return value(blob_value{std::move(bytes)});
  return value(text_value{in_utf8(std::move(bytes), text)});
}

}  // namespace

payload_reader::payload_reader(image& from, image::page page, const cell& c)
    : from_(from),
      page_(std::move(page)),
      piece_(std::string_view(*page_).substr(c.local_begin, c.local_size)),
      left_(c.payload_size),
      overflow_(c.overflow) {}

absl::StatusOr<std::string_view> payload_reader::next(std::uint64_t limit) {
  if (left_ == 0 || limit == 0) return std::string_view();
  if (piece_.empty()) {
    // A chain cannot run in a circle for ever: each page takes its bytes off what is left.
    UNDERSTUDY_ASSIGN_OR_RETURN(page_, from_.read(overflow_));
    overflow_ = big_endian_32(*page_, 0);
    piece_ = std::string_view(*page_).substr(4, std::min<std::uint64_t>(from_.usable() - 4, left_));
  }
  const std::string_view piece = piece_.substr(0, std::min<std::uint64_t>(limit, piece_.size()));
  piece_.remove_prefix(piece.size());
  left_ -= piece.size();
  return piece;
}

absl::Status payload_reader::read(std::uint64_t size, std::string& out) {
  while (size > 0) {
    UNDERSTUDY_ASSIGN_OR_RETURN(const std::string_view piece, next(size));
    if (piece.empty()) return corrupt("a row that ends early");
    out += piece;
    size -= piece.size();
  }
  return absl::OkStatus();
}

absl::StatusOr<bool> same_payload(payload_reader a, payload_reader b) {
  if (a.left() != b.left()) return false;
  std::string_view piece_a, piece_b;
  for (;;) {
    if (piece_a.empty()) {
      UNDERSTUDY_ASSIGN_OR_RETURN(piece_a, a.next(UINT64_MAX));
    }
    if (piece_b.empty()) {
      UNDERSTUDY_ASSIGN_OR_RETURN(piece_b, b.next(UINT64_MAX));
    }
    const std::size_t both = std::min(piece_a.size(), piece_b.size());
    if (both == 0) return true;  // the sizes are equal, so both are at their end
    if (piece_a.substr(0, both) != piece_b.substr(0, both)) return false;
    piece_a.remove_prefix(both);
    piece_b.remove_prefix(both);
  }
}

absl::StatusOr<std::vector<value>> read_record(payload_reader payload, encoding text,
                                               std::size_t most_columns, std::uint64_t largest_value) {
  // The header's size is a varint of at most nine bytes; read it byte by byte, for it may run over a page's
  // end.
  std::string header;
  std::uint64_t header_size = 0;
  for (bool ended = false; !ended;) {
    UNDERSTUDY_RETURN_IF_ERROR(payload.read(1, header));
    std::string_view view = header;
    ended = take_varint(view, header_size);
  }
  if (header_size < header.size() || header_size > longest_header ||
      header_size - header.size() > payload.left()) {
    return corrupt(fmt::format("a record's header of {} bytes", header_size));
  }
  const std::size_t prefix = header.size();
  UNDERSTUDY_RETURN_IF_ERROR(payload.read(header_size - prefix, header));

  std::string_view types = std::string_view(header).substr(prefix);
  std::vector<value> values;
  while (!types.empty() && values.size() < most_columns) {
    std::uint64_t type = 0;
    if (!take_varint(types, type)) return corrupt("a record's header that does not end");
    UNDERSTUDY_ASSIGN_OR_RETURN(value v, read_value(payload, type, text, largest_value));
    values.push_back(std::move(v));
  }
  return values;
}

}  // namespace understudy::rows
