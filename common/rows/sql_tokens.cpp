#include "common/rows/sql_tokens.hpp"

#include <algorithm>
#include <cctype>

namespace understudy::rows {
namespace {

char lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}
bool digit(char c) {
  return c >= '0' && c <= '9';
}
bool word_character(char c) {
  return static_cast<unsigned char>(c) >= 0x80 || c == '_' || c == '$' || digit(c) ||
         (lower(c) >= 'a' && lower(c) <= 'z');
}
int hex_digit(char c) {
  return digit(c) ? c - '0' : lower(c) >= 'a' && lower(c) <= 'f' ? lower(c) - 'a' + 10 : -1;
}

// One pass over the text.
class reader {
 public:
  explicit reader(std::string_view sql) : sql_(sql) {}

  // False at the end of the text, or where it is broken.
  bool next(token& out) {
    skip();
    if (at_ >= sql_.size()) return false;
    out = {.kind = token_kind::mark, .begin = at_, .end = at_, .text = {}};
    const char c = sql_[at_];
    if ((c == 'x' || c == 'X') && at_ + 1 < sql_.size() && sql_[at_ + 1] == '\'') {
      ++at_;
      blob(out);
    } else if (c == '\'' || c == '"' || c == '`' || c == '[') {
      out.kind = c == '\'' ? token_kind::string : token_kind::quoted;
      quoted(c == '[' ? ']' : c, out.text);
    } else if (digit(c) || (c == '.' && at_ + 1 < sql_.size() && digit(sql_[at_ + 1]))) {
      out.kind = token_kind::number;
      number(out.text);
    } else if (word_character(c)) {
      out.kind = token_kind::word;
      while (at_ < sql_.size() && word_character(sql_[at_])) out.text += sql_[at_++];
    } else {
      out.text.assign(1, c);
      ++at_;
    }
    out.end = at_;
    return !broken_;
  }
  bool broken() const { return broken_; }

 private:
  void skip() {
    for (;;) {
      if (at_ < sql_.size() && std::isspace(static_cast<unsigned char>(sql_[at_]))) {
        ++at_;
      } else if (sql_.substr(at_, 2) == "--") {
        at_ = std::min(sql_.size(), sql_.find('\n', at_));
      } else if (sql_.substr(at_, 2) == "/*") {
        const auto end = sql_.find("*/", at_ + 2);
        at_ = end == std::string_view::npos ? sql_.size() : end + 2;
      } else {
        return;
      }
    }
  }

  void quoted(char end, std::string& text) {
    for (++at_; at_ < sql_.size(); ++at_) {
      if (sql_[at_] != end) {
        text += sql_[at_];
      } else if (end != ']' && sql_.substr(at_ + 1, 1) == std::string_view(&end, 1)) {
        text += sql_[at_++];
      } else {
        ++at_;
        return;
      }
    }
    broken_ = true;
  }

  void blob(token& out) {
    std::string digits;
    quoted('\'', digits);
    out.kind = token_kind::blob;
    if (digits.size() % 2 != 0 ||
        std::any_of(digits.begin(), digits.end(), [](char d) { return hex_digit(d) < 0; })) {
      broken_ = true;
      return;
    }
    for (std::size_t i = 0; i < digits.size(); i += 2) {
      out.text += static_cast<char>(hex_digit(digits[i]) << 4 | hex_digit(digits[i + 1]));
    }
  }

  void number(std::string& text) {
    const bool hex = sql_.substr(at_, 2) == "0x" || sql_.substr(at_, 2) == "0X";
    while (at_ < sql_.size()) {
      const char c = sql_[at_];
      const bool sign = !hex && (c == '+' || c == '-') && lower(text.back()) == 'e';
      if (!word_character(c) && c != '.' && !sign) return;
      text += c;
      ++at_;
    }
  }

  std::string_view sql_;
  std::size_t at_ = 0;
  bool broken_ = false;
};

}  // namespace

bool token::is(std::string_view upper) const {
  return kind == token_kind::word && same_name(text, upper);
}

std::optional<std::vector<token>> tokens_of(std::string_view sql) {
  std::vector<token> tokens;
  reader from(sql);
  for (token next; from.next(next);) tokens.push_back(std::move(next));
  if (from.broken()) return std::nullopt;
  return tokens;
}

bool same_name(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](char x, char y) { return lower(x) == lower(y); });
}

std::string lower_case(std::string_view name) {
  std::string text(name);
  std::transform(text.begin(), text.end(), text.begin(), lower);
  return text;
}

}  // namespace understudy::rows
