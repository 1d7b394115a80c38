#pragma once

// Shell patterns on file names, compared byte by byte: names need not be text.
//   *      any bytes, also none        ?      one byte
//   [a-z]  one of these bytes          [!a-z] none of these        \x  the byte x itself
// "*.*" means everything, also names without a dot, as on the classic product. A "[" that is never closed
// stands for itself. Time is bounded by pattern length times name length.

#include <string_view>

namespace understudy::files {

// `ignore_case` folds A-Z only.
bool matches(std::string_view pattern, std::string_view name, bool ignore_case);

bool equal_names(std::string_view a, std::string_view b, bool ignore_case);

}  // namespace understudy::files
