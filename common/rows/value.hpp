#pragma once

// A value of a row, in SQLite's storage classes, and the few conversions that a reader of records needs.

#include <compare>
#include <cstdint>
#include <string>
#include <string_view>
#include <variant>

namespace understudy::rows {

// UTF-8, whatever the database's encoding; what is stored as UTF-8 is not checked, only passed on.
struct text_value {
  std::string bytes;
  friend bool operator==(const text_value&, const text_value&) = default;
};
struct blob_value {
  std::string bytes;
  friend bool operator==(const blob_value&, const blob_value&) = default;
};
// A text or blob longer than the reader wants: its size, and a hash that tells whether it changed.
struct omitted_value {
  bool text = false;
  std::uint64_t size = 0;  // bytes as stored
  std::uint64_t hash = 0;
  friend bool operator==(const omitted_value&, const omitted_value&) = default;
};

// monostate is NULL.
using value = std::variant<std::monostate, std::int64_t, double, text_value, blob_value, omitted_value>;

// As SQLite orders with the collation BINARY: NULL, numbers by what they are worth, text, blobs; what was
// omitted comes last.
std::weak_ordering compare(const value& a, const value& b);

// https://sqlite.org/datatype3.html#determination_of_column_affinity
enum class affinity {
  blob,     // none: kept as it came
  text,     // numbers become text
  numeric,  // text that looks like a number becomes one
  integer,  // as numeric
  real,     // as numeric, and integers become real
};
affinity affinity_of(std::string_view declared_type);
value with_affinity(value v, affinity a);

// Lone surrogates become U+FFFD (SQLite makes something of them with what follows); an odd last byte is
// dropped.
std::string utf8_of_utf16(std::string_view bytes, bool big_endian);

}  // namespace understudy::rows
