#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace understudy::ctl {

// Insertions, deletions, replacements and swaps of neighbours that lead from one word to the other.
std::size_t edit_distance(std::string_view from, std::string_view to);

// The candidate that was probably meant, if one is near enough to be worth saying: at most a third of the
// word is wrong, or it begins with the word.
std::optional<std::string> nearest(std::string_view word, const std::vector<std::string>& candidates);

}  // namespace understudy::ctl
