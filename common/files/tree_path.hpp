#pragma once

// Paths inside a tree: bytes, relative, "/" between components. What may come from outside is checked with
// check_path() first; the other functions take checked paths.

#include <string>
#include <string_view>

#include "absl/status/status.h"

namespace understudy::files {

inline constexpr std::size_t longest_name = 255;  // bytes; NAME_MAX of every filesystem we meet
inline constexpr std::size_t longest_path =
    16384;  // bytes; deeper trees than PATH_MAX exist, unbounded ones do not

// Relative, not empty, no empty, "." or ".." component, no NUL, within the bounds above.
absl::Status check_path(std::string_view path);

// "a/b/c" -> "a/b"; "a" -> "".
std::string_view parent_of(std::string_view path);
// "a/b/c" -> "c".
std::string_view name_of(std::string_view path);
// "" and "a" -> "a"; "a" and "b" -> "a/b".
std::string join(std::string_view directory, std::string_view name);
// True when `path` lies below `directory`; everything lies below "".
bool is_below(std::string_view path, std::string_view directory);
// For messages: bytes that are not printable ASCII are escaped.
std::string printable(std::string_view path);

}  // namespace understudy::files
