#include "agent-failover/ctl/human_text.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <ctime>
#include <string_view>

#include "google/protobuf/descriptor.h"

namespace understudy::ctl {

namespace {

bool is_set(const google::protobuf::Timestamp& at) {
  return at.seconds() != 0 || at.nanos() != 0;
}

// "SERVER_STATUS_" for ServerStatus: what buf's style puts before every value.
std::string prefix_of(const google::protobuf::EnumDescriptor& type) {
  std::string prefix;
  for (char c : type.name()) {
    if (std::isupper(static_cast<unsigned char>(c)) && !prefix.empty()) prefix += '_';
    prefix += static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  }
  return prefix + '_';
}

}  // namespace

clock_time to_time(const google::protobuf::Timestamp& at) {
  return clock_time{std::chrono::duration_cast<clock_time::duration>(std::chrono::seconds{at.seconds()} +
                                                                     std::chrono::nanoseconds{at.nanos()})};
}

std::chrono::milliseconds to_milliseconds(const google::protobuf::Duration& period) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::seconds{period.seconds()} +
                                                               std::chrono::nanoseconds{period.nanos()});
}

std::string duration_text(std::chrono::milliseconds period) {
  if (period < std::chrono::milliseconds{0}) return "-" + duration_text(-period);
  if (period == std::chrono::milliseconds{0}) return "0 s";
  if (period < std::chrono::seconds{1}) return fmt::format("{} ms", period.count());
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(period).count();
  struct unit {
    std::int64_t seconds;
    std::string_view name;
  };
  constexpr std::array<unit, 4> units{{{86400, "d"}, {3600, "h"}, {60, "min"}, {1, "s"}}};
  for (std::size_t i = 0; i < units.size(); ++i) {
    if (seconds < units[i].seconds) continue;
    auto text = fmt::format("{} {}", seconds / units[i].seconds, units[i].name);
    if (i + 1 < units.size()) {
      const auto rest = seconds % units[i].seconds / units[i + 1].seconds;
      if (rest != 0) text += fmt::format(" {} {}", rest, units[i + 1].name);
    }
    return text;
  }
  return "0 s";
}

std::string ago_text(const google::protobuf::Timestamp& at, clock_time now) {
  if (!is_set(at)) return "-";
  const auto age = std::chrono::duration_cast<std::chrono::seconds>(now - to_time(at));
  if (age.count() == 0) return "now";
  return age.count() > 0 ? duration_text(age) + " ago" : "in " + duration_text(-age);
}

std::string time_text(const google::protobuf::Timestamp& at) {
  if (!is_set(at)) return "-";
  const std::time_t seconds = at.seconds();
  std::tm local{};
  if (localtime_r(&seconds, &local) == nullptr) return "-";
  return fmt::format("{:04}-{:02}-{:02} {:02}:{:02}:{:02}", local.tm_year + 1900, local.tm_mon + 1,
                     local.tm_mday, local.tm_hour, local.tm_min, local.tm_sec);
}

std::string bytes_text(std::uint64_t bytes) {
  constexpr std::array<std::string_view, 6> units{"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  if (bytes < 1024) return fmt::format("{} B", bytes);
  int shift = 10;
  std::size_t unit = 0;
  while (unit + 1 < units.size() && (bytes >> shift) >= 1024) {
    shift += 10;
    ++unit;
  }
  const std::uint64_t whole = bytes >> shift;
  // The tenth is cut off, not rounded: 1023.99 KiB must not read as 1024.0 KiB.
  const std::uint64_t tenth = ((bytes >> (shift - 10)) & 1023) * 10 / 1024;
  if (whole >= 10) return fmt::format("{} {}", whole, units[unit]);
  return fmt::format("{}.{} {}", whole, tenth, units[unit]);
}

std::string percent_text(std::uint64_t bytes_done, std::uint64_t bytes_total, bool done) {
  if (bytes_total == 0) return "";
  const double part = static_cast<double>(bytes_done) / static_cast<double>(bytes_total);
  const int percent = std::clamp(static_cast<int>(part * 100.0), 0, done ? 100 : 99);
  return fmt::format("{} %", percent);
}

std::string enum_text(const google::protobuf::EnumDescriptor* type, int value) {
  const auto* known = type->FindValueByNumber(value);
  if (known == nullptr) return std::to_string(value);
  const auto prefix = prefix_of(*type);
  const std::string& name = known->name();
  return name.starts_with(prefix) ? name.substr(prefix.size()) : name;
}

std::string enum_word(const google::protobuf::EnumDescriptor* type, int value) {
  auto word = enum_text(type, value);
  for (char& c : word) c = c == '_' ? '-' : static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return word;
}

std::string printable(std::string_view text) {
  std::string clean;
  clean.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    // C1 controls are C2 80..9F in UTF-8; some terminals obey them as they obey ESC.
    const bool c1 = byte == 0xC2 && i + 1 < text.size() && static_cast<unsigned char>(text[i + 1]) < 0xA0;
    if (byte < 0x20 || byte == 0x7F || c1) {
      clean += '?';
      if (c1) ++i;
    } else {
      clean += text[i];
    }
  }
  return clean;
}

}  // namespace understudy::ctl
