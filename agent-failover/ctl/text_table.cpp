#include "agent-failover/ctl/text_table.hpp"

#include <algorithm>
#include <numeric>

#include "agent-failover/ctl/human_text.hpp"

namespace understudy::ctl {

namespace {

constexpr std::size_t GAP = 2;          // columns between two cells
constexpr std::size_t MIN_COLUMN = 12;  // columns below which cutting would make a cell useless

bool continues(char c) {
  return (static_cast<unsigned char>(c) & 0xC0) == 0x80;
}

std::string cut(const std::string& text, std::size_t width) {
  if (display_width(text) <= width) return text;
  std::size_t end = 0;
  for (std::size_t columns = 0; end < text.size(); ++end) {
    if (!continues(text[end]) && ++columns == width) break;
  }
  return text.substr(0, end) + "…";
}

}  // namespace

std::string tinted(std::string_view text, tint color, bool colored) {
  if (!colored || color == tint::plain) return std::string{text};
  const char* code = "";
  switch (color) {
    case tint::plain:
      break;
    case tint::good:
      code = "\x1b[32m";
      break;
    case tint::busy:
      code = "\x1b[36m";
      break;
    case tint::doubt:
      code = "\x1b[33m";
      break;
    case tint::bad:
      code = "\x1b[1;31m";
      break;
    case tint::faint:
      code = "\x1b[2m";
      break;
  }
  return code + std::string{text} + "\x1b[0m";
}

std::size_t display_width(std::string_view text) {
  return static_cast<std::size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return !continues(c); }));
}

std::string text_table::text(std::size_t width, bool colored) const {
  std::vector<std::vector<cell>> lines;
  lines.emplace_back();
  for (const auto& title : header_) lines.back().push_back({title, tint::faint});
  for (const auto& row : rows_) {
    auto& line = lines.emplace_back();
    for (std::size_t i = 0; i < header_.size(); ++i) {
      line.push_back(i < row.size() ? cell{printable(row[i].text), row[i].color} : cell{});
      if (line.back().text.empty()) line.back().text = "-";
    }
  }

  std::vector<std::size_t> widths(header_.size(), 0);
  for (const auto& line : lines) {
    for (std::size_t i = 0; i < line.size(); ++i) {
      widths[i] = std::max(widths[i], display_width(line[i].text));
    }
  }
  const auto total = [&] {
    return std::accumulate(widths.begin(), widths.end(), std::size_t{0}) + GAP * (widths.size() - 1);
  };
  while (width != 0 && total() > width) {
    auto widest = std::max_element(widths.begin(), widths.end());
    if (*widest <= MIN_COLUMN) break;
    --*widest;
  }

  std::string text;
  for (const auto& line : lines) {
    for (std::size_t i = 0; i < line.size(); ++i) {
      const auto shown = cut(line[i].text, widths[i]);
      text += tinted(shown, line[i].color, colored);
      if (i + 1 < line.size()) text.append(widths[i] - display_width(shown) + GAP, ' ');
    }
    text += '\n';
  }
  return text;
}

}  // namespace understudy::ctl
