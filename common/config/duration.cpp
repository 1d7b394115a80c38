#include <fmt/core.h>

#include <array>
#include <charconv>

#include "common/config/toml_document.hpp"

namespace understudy::config {
namespace {

struct unit {
  std::string_view name;
  std::int64_t milliseconds;
};
constexpr std::array<unit, 5> units{
    {{"ms", 1}, {"s", 1000}, {"m", 60 * 1000}, {"h", 3600 * 1000}, {"d", 24 * 3600 * 1000}}};
constexpr std::int64_t longest_ms =
    std::int64_t{100} * 365 * 24 * 3600 * 1000;  // a century: beyond is a typing error

}  // namespace

std::optional<std::chrono::milliseconds> parse_duration(std::string_view text) {
  std::int64_t number = 0;
  const auto [rest, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || number < 0) return std::nullopt;
  const std::string_view name(rest, static_cast<std::size_t>(text.data() + text.size() - rest));
  for (const unit& u : units) {
    if (u.name != name) continue;
    if (number > longest_ms / u.milliseconds) return std::nullopt;
    return std::chrono::milliseconds{number * u.milliseconds};
  }
  return std::nullopt;
}

std::string format_duration(std::chrono::milliseconds duration) {
  const std::int64_t count = duration.count();
  for (auto u = units.rbegin(); u != units.rend(); ++u) {
    if (count != 0 && count % u->milliseconds == 0)
      return fmt::format("{}{}", count / u->milliseconds, u->name);
  }
  return "0s";
}

}  // namespace understudy::config
