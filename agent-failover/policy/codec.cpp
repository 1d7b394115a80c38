#include "agent-failover/policy/codec.hpp"

#include <fmt/core.h>

#include <charconv>
#include <limits>
#include <type_traits>
#include <utility>

namespace understudy::policy {
namespace {

// Version 1: the fields of visit() in order, each "key=value", separated by one space. Enumerators by number
// (they are appended to, never reordered); text percent-escaped.
constexpr std::string_view version = "1";

std::string escaped(std::string_view text) {
  std::string out;
  for (const char each : text) {
    const auto byte = static_cast<unsigned char>(each);
    if (byte <= ' ' || byte == '%' || byte == '=' || byte == 0x7f) {
      out += fmt::format("%{:02x}", byte);
    } else {
      out += each;
    }
  }
  return out;
}

bool unescape(std::string_view text, std::string& out) {
  out.clear();
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      out += text[i];
      continue;
    }
    unsigned byte = 0;
    if (i + 2 >= text.size()) return false;
    const char* first = text.data() + i + 1;
    const auto [end, error] = std::from_chars(first, first + 2, byte, 16);
    if (error != std::errc{} || end != first + 2) return false;
    out += static_cast<char>(byte);
    i += 2;
  }
  return escaped(out) == text;
}

// Every field once, for both directions. `limit` is the number of enumerators.
template <class State, class Visitor>
bool visit(State& s, Visitor&& f) {
  return f("phase", s.at, phase_count) && f("step", s.doing, step_count) && f("copy", s.replication.at, 6) &&
         f("has_copy", s.replication.has_copy, 2) && f("warning", s.configured.warning_count, 0) &&
         f("claim", s.configured.claim_count, 0) && f("failover", s.configured.failover_count, 0) &&
         f("failover_reboot", s.configured.failover_count_after_reboot, 0) &&
         f("mode", s.configured.mode, 3) && f("assume_ip", s.configured.assume_ip, 2) &&
         f("auto_stop", s.configured.auto_stop, 2) && f("manual_only", s.configured.manual_only, 2) &&
         f("allow_difference", s.configured.allow_version_difference, 2) &&
         f("stored_choice", s.configured.auto_stop_choice, 3) && f("missed", s.missed, 0) &&
         f("after_reboot", s.after_reboot, 2) && f("host_blind", s.host_blind, 2) &&
         f("claimed", s.claimed, 2) && f("versions_differ", s.versions_differ, 2) &&
         f("flapping", s.flapping, 2) && f("epoch", s.epoch, 0) && f("owner", s.owner, 2) &&
         f("cause", s.why_acting, 4) && f("blocked", s.blocked, block_count) && f("slot", s.slot_held, 2) &&
         f("resume", s.resume_asked, 2) && f("queue", s.queue_position, 0) && f("newest", s.copy_newest, 2) &&
         f("told", s.told, 2) && f("serving", s.serving, 2) && f("start_owed", s.start_owed, 2) &&
         f("choice", s.choice, 3) && f("until", s.until_ms, 0) && f("reason", s.reason, 0) &&
         f("by", s.by, 0) && f("why", s.why, 0);
}

struct writer {
  std::string out{version};
  template <class T>
  bool operator()(const char* key, const T& value, int) {
    if constexpr (std::is_same_v<T, std::string>) {
      out += fmt::format(" {}={}", key, escaped(value));
    } else if constexpr (std::is_enum_v<T>) {
      out += fmt::format(" {}={}", key, static_cast<unsigned>(value));
    } else if constexpr (std::is_same_v<T, bool>) {
      out += fmt::format(" {}={}", key, value ? 1 : 0);
    } else {
      out += fmt::format(" {}={}", key, value);
    }
    return true;
  }
};

struct reader {
  std::string_view rest;
  std::string wrong;

  template <class T>
  bool operator()(const char* key, T& value, int limit) {
    const std::string start = fmt::format(" {}=", key);
    if (!rest.starts_with(start)) return refuse(key, "is missing");
    rest.remove_prefix(start.size());
    const std::string_view text = rest.substr(0, rest.find(' '));
    rest.remove_prefix(text.size());
    if constexpr (std::is_same_v<T, std::string>) {
      return unescape(text, value) || refuse(key, "is not escaped text");
    } else {
      std::conditional_t<std::is_signed_v<T> && std::is_integral_v<T>, std::int64_t, std::uint64_t> number =
          0;
      const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
      if (error != std::errc{} || end != text.data() + text.size()) return refuse(key, "is not a number");
      if (fmt::format("{}", number) != text) return refuse(key, "is not written canonically");
      if constexpr (std::is_enum_v<T> || std::is_same_v<T, bool>) {
        if (number >= static_cast<std::uint64_t>(limit)) return refuse(key, "is out of range");
      } else if constexpr (std::is_same_v<T, std::uint32_t>) {
        if (number > std::numeric_limits<std::uint32_t>::max()) return refuse(key, "is out of range");
      }
      value = static_cast<T>(number);
      return true;
    }
  }

  bool refuse(const char* key, const char* what) {
    wrong = fmt::format("state record: {} {}", key, what);
    return false;
  }
};

}  // namespace

std::string encode(const primary_state& state) {
  writer made;
  visit(state, made);
  return std::move(made.out);
}

absl::StatusOr<primary_state> decode(std::string_view text) {
  const std::string_view found = text.substr(0, text.find(' '));
  if (found != version) {
    return absl::DataLossError(
        fmt::format("state record: version \"{}\" is not known, {} is", escaped(found), version));
  }
  primary_state state;
  reader from{text.substr(version.size()), {}};
  if (!visit(state, from)) return absl::DataLossError(from.wrong);
  if (!from.rest.empty())
    return absl::DataLossError(std::string("state record: something follows its last field"));
  return state;
}

}  // namespace understudy::policy
