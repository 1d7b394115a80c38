#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace understudy::ctl {

// How a cell is emphasised on a terminal that shows colours. The text says the same without them.
enum class tint {
  plain,  // as it is
  good,   // green
  busy,   // cyan
  doubt,  // yellow
  bad,    // red
  faint   // dim
};

// `text` in the colour, or as it is when `colored` is false.
std::string tinted(std::string_view text, tint color, bool colored);

// Columns on a terminal: code points, not bytes. East Asian wide characters count as one.
std::size_t display_width(std::string_view text);

// Left-aligned columns, two spaces apart, no trailing spaces. Cells are made printable.
class text_table {
 public:
  struct cell {
    std::string text;
    tint color = tint::plain;
  };

  explicit text_table(std::vector<std::string> header) : header_(std::move(header)) {}

  void add_row(std::vector<cell> row) { rows_.push_back(std::move(row)); }
  bool empty() const { return rows_.empty(); }

  // With width 0 nothing is cut. Otherwise the widest columns are cut, with "…", until a line fits or no
  // column is wider than 12. An empty cell shows as "-".
  std::string text(std::size_t width = 0, bool colored = false) const;

 private:
  std::vector<std::string> header_;
  std::vector<std::vector<cell>> rows_;
};

}  // namespace understudy::ctl
