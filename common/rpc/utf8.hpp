#pragma once

// proto3 refuses a message in which a `string` is not valid UTF-8, and SQLite and file systems take any bytes
// for a name.

#include <cstddef>
#include <string>
#include <string_view>

namespace understudy::rpc {

// The length of the character that begins at `at`, in bytes; 0: what is there is no UTF-8.
std::size_t utf8_length(std::string_view text, std::size_t at);

bool is_utf8(std::string_view text);

// Each byte that is no UTF-8 is replaced by U+FFFD.
std::string as_utf8(std::string_view text);

}  // namespace understudy::rpc
