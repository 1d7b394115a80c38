#include "common/files/name_pattern.hpp"

#include <algorithm>
#include <cstddef>
#include <optional>

namespace understudy::files {
namespace {

unsigned char fold(char c, bool ignore_case) {
  const auto byte = static_cast<unsigned char>(c);
  return ignore_case && byte >= 'A' && byte <= 'Z' ? static_cast<unsigned char>(byte + ('a' - 'A')) : byte;
}

struct element_match {
  bool matched = false;
  std::size_t length = 1;  // of the pattern element
};

// The set that begins at pattern[at] == '['. Nothing when it is never closed.
std::optional<element_match> match_set(std::string_view pattern, std::size_t at, char c, bool ignore_case) {
  std::size_t i = at + 1;
  const bool negated = i < pattern.size() && (pattern[i] == '!' || pattern[i] == '^');
  if (negated) ++i;
  const unsigned char byte = fold(c, ignore_case);
  bool found = false;
  for (bool first = true; i < pattern.size(); first = false) {
    if (pattern[i] == ']' && !first) return element_match{.matched = found != negated, .length = i + 1 - at};
    const unsigned char low = fold(pattern[i], ignore_case);
    unsigned char high = low;
    if (i + 2 < pattern.size() && pattern[i + 1] == '-' && pattern[i + 2] != ']') {
      high = fold(pattern[i + 2], ignore_case);
      i += 3;
    } else {
      ++i;
    }
    found = found || (low <= byte && byte <= high);
  }
  return std::nullopt;
}

element_match match_element(std::string_view pattern, std::size_t at, char c, bool ignore_case) {
  if (pattern[at] == '?') return {.matched = true};
  if (pattern[at] == '[') {
    if (const auto set = match_set(pattern, at, c, ignore_case)) return *set;
  }
  if (pattern[at] == '\\' && at + 1 < pattern.size()) {
    return {.matched = fold(pattern[at + 1], ignore_case) == fold(c, ignore_case), .length = 2};
  }
  return {.matched = fold(pattern[at], ignore_case) == fold(c, ignore_case)};
}

}  // namespace

bool matches(std::string_view pattern, std::string_view name, bool ignore_case) {
  if (pattern == "*.*") return true;
  constexpr std::size_t none = std::string_view::npos;
  std::size_t p = 0;
  std::size_t n = 0;
  // Only the last star needs to be tried again: an earlier one could not match more than it did.
  std::size_t after_star = none;
  std::size_t star_name = 0;
  while (n < name.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      after_star = ++p;
      star_name = n;
      continue;
    }
    if (p < pattern.size()) {
      if (const element_match m = match_element(pattern, p, name[n], ignore_case); m.matched) {
        p += m.length;
        ++n;
        continue;
      }
    }
    if (after_star == none) return false;
    p = after_star;
    n = ++star_name;
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

bool equal_names(std::string_view a, std::string_view b, bool ignore_case) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [&](char x, char y) { return fold(x, ignore_case) == fold(y, ignore_case); });
}

}  // namespace understudy::files
