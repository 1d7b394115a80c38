#include "agent-failover/rows/row_cursor.hpp"

#include <fmt/core.h>

#include <charconv>

namespace understudy::rows {
namespace {

constexpr std::size_t longest_cursor = 64 << 10;  // bytes

// What comes before the next `mark`, which falls away with it.
std::string_view take_to(std::string_view& text, char mark) {
  const auto end = text.find(mark);
  const std::string_view part = text.substr(0, end);
  text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  return part;
}

bool number(std::string_view text, std::uint64_t& to) {
  const auto parsed = std::from_chars(text.data(), text.data() + text.size(), to, 16);
  return parsed.ec == std::errc() && parsed.ptr == text.data() + text.size();
}

}  // namespace

std::string to_text(const positions& at) {
  std::string text;
  for (const auto& [catalog, p] : at) {
    text += fmt::format("{}{}:{:x}:{:x}:{:x}:{:x}", text.empty() ? "" : ",", catalog, p.state, p.image,
                        p.delivered, p.wanted);
  }
  return text;
}

std::optional<positions> parse_positions(std::string_view text) {
  if (text.size() > longest_cursor) return std::nullopt;
  positions at;
  while (!text.empty()) {
    std::string_view one = take_to(text, ',');
    const std::string catalog(take_to(one, ':'));
    position p;
    for (std::uint64_t* field : {&p.state, &p.image, &p.delivered, &p.wanted}) {
      if (!number(take_to(one, ':'), *field)) return std::nullopt;
    }
    if (catalog.empty() || !one.empty() || !at.emplace(catalog, p).second) return std::nullopt;
  }
  return at;
}

}  // namespace understudy::rows
