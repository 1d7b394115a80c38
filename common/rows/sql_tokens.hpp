#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace understudy::rows {

enum class token_kind {
  word,    // an identifier or a keyword, bare
  quoted,  // an identifier in "", `` or []
  string,  // in ''
  number,
  blob,  // x'...'
  mark,  // anything else, one character
};

struct token {
  token_kind kind = token_kind::mark;
  std::size_t begin = 0;  // where in the text
  std::size_t end = 0;
  std::string text;  // without quotes; of blobs the bytes

  // A bare word, whatever its case; `upper` is in capitals.
  bool is(std::string_view upper) const;
  bool is(char mark) const { return kind == token_kind::mark && text[0] == mark; }
  // May stand for a name.
  bool name() const {
    return kind == token_kind::word || kind == token_kind::quoted || kind == token_kind::string;
  }
};

// Comments and spaces fall away. nullopt: a quote or a blob does not end as it should.
std::optional<std::vector<token>> tokens_of(std::string_view sql);

bool same_name(std::string_view a, std::string_view b);  // ASCII letters match in either case, as in SQLite
std::string lower_case(std::string_view name);

}  // namespace understudy::rows
