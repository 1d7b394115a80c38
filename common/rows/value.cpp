#include "common/rows/value.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <optional>

namespace understudy::rows {
namespace {

constexpr double two_to_63 = 9223372036854775808.0;

std::weak_ordering order(std::int64_t integer, double real) {
  if (std::isnan(real)) return std::weak_ordering::greater;  // not to be found in a record; NULL to SQLite
  if (real >= two_to_63) return std::weak_ordering::less;
  if (real < -two_to_63) return std::weak_ordering::greater;
  const auto whole = static_cast<std::int64_t>(real);
  if (integer != whole) return integer <=> whole;
  const double rest = real - static_cast<double>(whole);
  return rest > 0   ? std::weak_ordering::less
         : rest < 0 ? std::weak_ordering::greater
                    : std::weak_ordering::equivalent;
}

int rank(const value& v) {
  static constexpr int ranks[] = {0, 1, 1, 2, 3, 4};  // by the variant's index
  return ranks[v.index()];
}

std::weak_ordering order(double a, double b) {
  return a < b   ? std::weak_ordering::less
         : b < a ? std::weak_ordering::greater
                 : std::weak_ordering::equivalent;
}

// The number that the whole of `text` is, spaces around it apart; an integer where it is worth one.
std::optional<value> number_of(std::string_view text) {
  const auto space = [](unsigned char c) { return c == ' ' || (c >= '\t' && c <= '\r'); };
  while (!text.empty() && space(text.front())) text.remove_prefix(1);
  while (!text.empty() && space(text.back())) text.remove_suffix(1);
  std::size_t at = !text.empty() && (text[0] == '+' || text[0] == '-') ? 1 : 0;
  const auto digits = [&] {
    const auto begin = at;
    while (at < text.size() && std::isdigit(static_cast<unsigned char>(text[at]))) ++at;
    return at - begin;
  };
  std::size_t mantissa = digits();
  const bool whole = at == text.size() && mantissa > 0;
  if (whole) {
    std::int64_t integer = 0;
    const char* begin = text.data() + (text[0] == '+' ? 1 : 0);
    const auto parsed = std::from_chars(begin, text.data() + text.size(), integer);
    if (parsed.ec == std::errc()) return value(integer);
  } else {
    if (at < text.size() && text[at] == '.') {
      ++at;
      mantissa += digits();
    }
    if (mantissa == 0) return std::nullopt;
    if (at < text.size() && (text[at] == 'e' || text[at] == 'E')) {
      ++at;
      if (at < text.size() && (text[at] == '+' || text[at] == '-')) ++at;
      if (digits() == 0) return std::nullopt;
    }
    if (at != text.size()) return std::nullopt;
  }
  const double real = std::strtod(std::string(text).c_str(), nullptr);
  if (real > -two_to_63 && real < two_to_63 && std::trunc(real) == real) {
    const auto integer = static_cast<std::int64_t>(real);
    if (integer != INT64_MIN && integer != INT64_MAX) return value(integer);
  }
  return value(real);
}

void append_utf8(std::string& out, std::uint32_t c) {
  if (c < 0x80) {
    out += static_cast<char>(c);
  } else if (c < 0x800) {
    out += static_cast<char>(0xC0 | c >> 6);
    out += static_cast<char>(0x80 | (c & 0x3F));
  } else if (c < 0x10000) {
    out += static_cast<char>(0xE0 | c >> 12);
    out += static_cast<char>(0x80 | (c >> 6 & 0x3F));
    out += static_cast<char>(0x80 | (c & 0x3F));
  } else {
    out += static_cast<char>(0xF0 | c >> 18);
    out += static_cast<char>(0x80 | (c >> 12 & 0x3F));
    out += static_cast<char>(0x80 | (c >> 6 & 0x3F));
    out += static_cast<char>(0x80 | (c & 0x3F));
  }
}

}  // namespace

std::weak_ordering compare(const value& a, const value& b) {
  if (rank(a) != rank(b)) return rank(a) <=> rank(b);
  if (rank(a) == 1) {
    const auto* ai = std::get_if<std::int64_t>(&a);
    const auto* bi = std::get_if<std::int64_t>(&b);
    if (ai != nullptr && bi != nullptr) return *ai <=> *bi;
    if (ai != nullptr) return order(*ai, std::get<double>(b));
    if (bi != nullptr) return 0 <=> order(*bi, std::get<double>(a));
    return order(std::get<double>(a), std::get<double>(b));
  }
  if (const auto* text = std::get_if<text_value>(&a)) return text->bytes <=> std::get<text_value>(b).bytes;
  if (const auto* blob = std::get_if<blob_value>(&a)) return blob->bytes <=> std::get<blob_value>(b).bytes;
  if (const auto* omitted = std::get_if<omitted_value>(&a)) {
    const auto& other = std::get<omitted_value>(b);
    if (omitted->size != other.size) return omitted->size <=> other.size;
    return omitted->hash <=> other.hash;
  }
  return std::weak_ordering::equivalent;
}

affinity affinity_of(std::string_view declared_type) {
  if (declared_type.empty()) return affinity::blob;
  affinity found = affinity::numeric;
  std::uint32_t last_four = 0;
  const auto word = [](const char(&w)[5]) {
    return static_cast<std::uint32_t>(w[0]) << 24 | w[1] << 16 | w[2] << 8 | w[3];
  };
  for (const char c : declared_type) {
    const char lower = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    last_four = last_four << 8 | static_cast<unsigned char>(lower);
    if (last_four == word("char") || last_four == word("clob") || last_four == word("text")) {
      found = affinity::text;
    } else if (last_four == word("blob") && (found == affinity::numeric || found == affinity::real)) {
      found = affinity::blob;
    } else if ((last_four == word("real") || last_four == word("floa") || last_four == word("doub")) &&
               found == affinity::numeric) {
      found = affinity::real;
    } else if ((last_four & 0xFFFFFF) == ('i' << 16 | 'n' << 8 | 't')) {
      return affinity::integer;
    }
  }
  return found;
}

value with_affinity(value v, affinity a) {
  switch (a) {
    case affinity::blob:
      return v;
    case affinity::text:
      if (const auto* integer = std::get_if<std::int64_t>(&v)) return text_value{fmt::format("{}", *integer)};
      return v;
    case affinity::numeric:
    case affinity::integer:
    case affinity::real:
      if (const auto* text = std::get_if<text_value>(&v)) {
        if (auto number = number_of(text->bytes)) v = *std::move(number);
      }
      if (a == affinity::real) {
        if (const auto* integer = std::get_if<std::int64_t>(&v)) return static_cast<double>(*integer);
      }
      return v;
  }
  return v;
}

std::string utf8_of_utf16(std::string_view bytes, bool big_endian) {
  const auto unit = [&](std::size_t i) {
    const auto first = static_cast<unsigned char>(bytes[i]);
    const auto second = static_cast<unsigned char>(bytes[i + 1]);
    return static_cast<std::uint32_t>(big_endian ? first << 8 | second : second << 8 | first);
  };
  std::string out;
  out.reserve(bytes.size());
  for (std::size_t i = 0; i + 1 < bytes.size(); i += 2) {
    std::uint32_t c = unit(i);
    if (c >= 0xD800 && c < 0xE000) {
      const bool pair = c < 0xDC00 && i + 3 < bytes.size() && unit(i + 2) >= 0xDC00 && unit(i + 2) < 0xE000;
      if (pair) {
        c = 0x10000 + ((c - 0xD800) << 10) + (unit(i + 2) - 0xDC00);
        i += 2;
      } else {
        c = 0xFFFD;
      }
    }
    append_utf8(out, c);
  }
  return out;
}

}  // namespace understudy::rows
