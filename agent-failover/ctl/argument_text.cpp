#include "agent-failover/ctl/argument_text.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <ctime>
#include <vector>

#include "agent-failover/ctl/typo.hpp"
#include "common/status/status_macros.hpp"
#include "common/status/status_text.hpp"
#include "google/protobuf/descriptor.h"
#include "google/protobuf/duration.pb.h"
#include "google/protobuf/util/json_util.h"
#include "google/protobuf/util/time_util.h"
#include "understudy/v1/primary_agent.pb.h"

namespace understudy::ctl {

namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

constexpr std::int64_t LONGEST_PERIOD_MS = 10LL * 366 * 86'400'000;  // ms; beyond it something was mistyped

std::string with_underscores(std::string_view text) {
  std::string path{text};
  std::replace(path.begin(), path.end(), '-', '_');
  return path;
}

absl::Status wrong(std::string_view path, std::string_view value, std::string_view expected) {
  return absl::InvalidArgumentError(fmt::format("{}: \"{}\" is not {}", path, value, expected));
}

absl::StatusOr<bool> parse_bool(std::string_view path, std::string_view value) {
  if (value == "true" || value == "yes" || value == "on" || value == "1") return true;
  if (value == "false" || value == "no" || value == "off" || value == "0") return false;
  return wrong(path, value, "true or false");
}

template <class Number>
absl::StatusOr<Number> parse_number(std::string_view path, std::string_view value) {
  Number number{};
  const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), number);
  if (error != std::errc{} || end != value.data() + value.size())
    return wrong(path, value, "a number that fits");
  return number;
}

absl::StatusOr<int> parse_enum(std::string_view path, std::string_view value,
                               const google::protobuf::EnumDescriptor* type) {
  auto word = std::string{value};
  std::transform(word.begin(), word.end(), word.begin(),
                 [](unsigned char c) { return c == '_' ? '-' : static_cast<char>(std::tolower(c)); });
  std::vector<std::string> words;
  for (int i = 0; i < type->value_count(); ++i) {
    const auto* known = type->value(i);
    if (known->number() == 0) continue;
    words.push_back(enum_word(type, known->number()));
    if (word == words.back()) return known->number();
  }
  std::string all;
  for (const auto& known : words) all += (all.empty() ? "" : ", ") + known;
  return wrong(path, value, "one of " + all);
}

// Sets a field by way of JSON, which knows every shape.
absl::Status set_from_json(Message* message, const FieldDescriptor* field, std::string_view path,
                           std::string_view value) {
  const auto json = fmt::format("{{\"{}\":{}}}", field->json_name(), value);
  std::unique_ptr<Message> parsed{message->New()};
  const auto status = google::protobuf::util::JsonStringToMessage(json, parsed.get());
  if (!status.ok()) return wrong(path, value, fmt::format("valid JSON for it ({})", status.ToString()));
  message->GetReflection()->ClearField(message, field);
  message->MergeFrom(*parsed);
  return absl::OkStatus();
}

std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  while (!text.empty()) {
    const auto at = text.find(separator);
    auto part = text.substr(0, at);
    while (part.starts_with(' ')) part.remove_prefix(1);
    while (part.ends_with(' ')) part.remove_suffix(1);
    if (!part.empty()) parts.push_back(part);
    if (at == std::string_view::npos) break;
    text.remove_prefix(at + 1);
  }
  return parts;
}

absl::Status set_repeated(Message* message, const FieldDescriptor* field, std::string_view path,
                          std::string_view value) {
  if (value.starts_with('[')) return set_from_json(message, field, path, value);
  const auto* reflection = message->GetReflection();
  if (field->cpp_type() == FieldDescriptor::CPPTYPE_STRING) {
    for (auto part : split(value, ',')) reflection->AddString(message, field, std::string{part});
    return absl::OkStatus();
  }
  if (field->message_type() == v1::ServiceAddress::descriptor()) {
    for (auto part : split(value, ',')) {
      auto* address = static_cast<v1::ServiceAddress*>(reflection->AddMessage(message, field));
      UNDERSTUDY_RETURN_IF_ERROR(parse_service_address(part, address));
    }
    return absl::OkStatus();
  }
  return wrong(path, value, "a JSON list: [{...}, ...]");
}

// "500MiB", "2GiB", or bytes.
absl::StatusOr<std::uint64_t> parse_bytes(std::string_view path, std::string_view value) {
  auto number = value;
  int shift = 0;
  for (const auto& [unit, bits] :
       {std::pair{std::string_view{"KiB"}, 10}, std::pair{std::string_view{"MiB"}, 20},
        std::pair{std::string_view{"GiB"}, 30}, std::pair{std::string_view{"TiB"}, 40}}) {
    if (!number.ends_with(unit)) continue;
    number.remove_suffix(unit.size());
    shift = bits;
    break;
  }
  UNDERSTUDY_ASSIGN_OR_RETURN(const std::uint64_t count, parse_number<std::uint64_t>(path, number));
  if (count > UINT64_MAX >> shift)
    return absl::InvalidArgumentError(fmt::format("{}: \"{}\" is too much", path, value));
  return count << shift;
}

absl::Status set_single(Message* message, const FieldDescriptor* field, std::string_view path,
                        std::string_view value) {
  const auto* reflection = message->GetReflection();
  switch (field->cpp_type()) {
    case FieldDescriptor::CPPTYPE_BOOL: {
      UNDERSTUDY_ASSIGN_OR_RETURN(const bool flag, parse_bool(path, value));
      reflection->SetBool(message, field, flag);
      return absl::OkStatus();
    }
    case FieldDescriptor::CPPTYPE_UINT32: {
      UNDERSTUDY_ASSIGN_OR_RETURN(const auto number, parse_number<std::uint32_t>(path, value));
      reflection->SetUInt32(message, field, number);
      return absl::OkStatus();
    }
    case FieldDescriptor::CPPTYPE_UINT64: {
      UNDERSTUDY_ASSIGN_OR_RETURN(const std::uint64_t bytes, parse_bytes(path, value));
      reflection->SetUInt64(message, field, bytes);
      return absl::OkStatus();
    }
    case FieldDescriptor::CPPTYPE_STRING:
      if (field->name() == "daily") {
        UNDERSTUDY_ASSIGN_OR_RETURN(auto daily, parse_time_of_day(value));
        reflection->SetString(message, field, std::move(daily));
      } else {
        reflection->SetString(message, field, std::string{value});
      }
      return absl::OkStatus();
    case FieldDescriptor::CPPTYPE_ENUM: {
      UNDERSTUDY_ASSIGN_OR_RETURN(const int number, parse_enum(path, value, field->enum_type()));
      reflection->SetEnumValue(message, field, number);
      return absl::OkStatus();
    }
    case FieldDescriptor::CPPTYPE_MESSAGE:
      if (field->message_type() == google::protobuf::Duration::descriptor()) {
        UNDERSTUDY_ASSIGN_OR_RETURN(const auto period, parse_duration(value));
        *static_cast<google::protobuf::Duration*>(reflection->MutableMessage(message, field)) =
            google::protobuf::util::TimeUtil::MillisecondsToDuration(period.count());
        return absl::OkStatus();
      }
      return set_from_json(message, field, path, value);
    default:
      return set_from_json(message, field, path, value);
  }
}

absl::Status unknown_field(const Message& message, std::string_view path, std::string_view name) {
  std::vector<std::string> known;
  const auto* type = message.GetDescriptor();
  for (int i = 0; i < type->field_count(); ++i) known.push_back(type->field(i)->name());
  auto text = fmt::format("there is no field \"{}\"", path);
  if (const auto meant = nearest(name, known)) {
    text += fmt::format("; did you mean \"{}{}\"?", path.substr(0, path.size() - name.size()), *meant);
  } else {
    text += "; there are ";
    for (std::size_t i = 0; i < known.size(); ++i) text += (i == 0 ? "" : ", ") + known[i];
  }
  return absl::InvalidArgumentError(text);
}

absl::StatusOr<clock_time> parse_local_time(std::string_view text) {
  std::tm local{};
  char rest = 0;
  const std::string copy{text};
  int fields = std::sscanf(copy.c_str(), "%4d-%2d-%2d%*1[ T]%2d:%2d:%2d%c", &local.tm_year, &local.tm_mon,
                           &local.tm_mday, &local.tm_hour, &local.tm_min, &local.tm_sec, &rest);
  const auto in_range = local.tm_mon >= 1 && local.tm_mon <= 12 && local.tm_mday >= 1 &&
                        local.tm_mday <= 31 && local.tm_hour >= 0 && local.tm_hour < 24 &&
                        local.tm_min >= 0 && local.tm_min < 60 && local.tm_sec >= 0 && local.tm_sec <= 60;
  const auto length_fits = text.size() == 16 || text.size() == 19;
  if ((fields != 5 && fields != 6) || !in_range || !length_fits) {
    return absl::InvalidArgumentError(
        fmt::format("\"{}\" is not a time: give 2026-11-22T15:40:00Z, \"2026-11-22 15:40\" (local), or 10m "
                    "for so long ago",
                    text));
  }
  local.tm_year -= 1900;
  local.tm_mon -= 1;
  local.tm_isdst = -1;
  return std::chrono::system_clock::from_time_t(std::mktime(&local));
}

}  // namespace

absl::StatusOr<std::chrono::milliseconds> parse_duration(std::string_view text) {
  const auto wrong_duration = [&] {
    return absl::InvalidArgumentError(
        fmt::format("\"{}\" is not a duration: give for example 1500ms, 90s, 30m, 2h, 1h30m or 2d", text));
  };
  std::string_view rest = text;
  if (rest.empty()) return wrong_duration();
  std::int64_t total = 0;
  while (!rest.empty()) {
    std::int64_t number = 0;
    const auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), number);
    if (error != std::errc{} || number < 0) return wrong_duration();
    rest.remove_prefix(static_cast<std::size_t>(end - rest.data()));
    const auto letters = std::min(rest.find_first_not_of("abcdefghijklmnopqrstuvwxyz"), rest.size());
    const auto unit = rest.substr(0, letters);
    rest.remove_prefix(letters);
    std::int64_t factor = 0;
    if (unit == "ms") factor = 1;
    if (unit == "s") factor = 1000;
    if (unit == "m" || unit == "min") factor = 60'000;
    if (unit == "h") factor = 3'600'000;
    if (unit == "d") factor = 86'400'000;
    if (factor == 0 || number > LONGEST_PERIOD_MS / factor) return wrong_duration();
    total += number * factor;
    if (total > LONGEST_PERIOD_MS) return wrong_duration();
  }
  return std::chrono::milliseconds{total};
}

absl::StatusOr<clock_time> parse_time(std::string_view text, clock_time now) {
  constexpr std::string_view so_long_ago = " ago";
  auto period = text;
  if (period.ends_with(so_long_ago)) period.remove_suffix(so_long_ago.size());
  if (const auto ago = parse_duration(period); ago.ok()) return now - *ago;
  google::protobuf::Timestamp at;
  if (google::protobuf::util::TimeUtil::FromString(std::string{text}, &at)) return to_time(at);
  return parse_local_time(text);
}

absl::StatusOr<std::string> parse_time_of_day(std::string_view text) {
  if (text.empty() || text == "none") return std::string{};
  // Which time zones there are is for the failover host to say.
  const std::string_view time = text.substr(0, text.find(' '));
  const auto digit = [&](std::size_t i) { return time[i] >= '0' && time[i] <= '9'; };
  const bool shape = time.size() == 5 && time[2] == ':' && digit(0) && digit(1) && digit(3) && digit(4);
  if (!shape || time.substr(0, 2) > "23" || time.substr(3, 2) > "59" || text.back() == ' ') {
    return absl::InvalidArgumentError(fmt::format(
        "\"{}\" is not a time of day: give HH:MM between 00:00 and 23:59, with a time zone or without "
        "(\"02:30 Europe/Vienna\"), or none",
        text));
  }
  return std::string{text};
}

absl::Status parse_service_address(std::string_view text, v1::ServiceAddress* address) {
  auto rest = text;
  if (const auto at = rest.rfind('@'); at != std::string_view::npos) {
    address->set_adapter(std::string{rest.substr(at + 1)});
    rest = rest.substr(0, at);
  }
  if (const auto slash = rest.find('/'); slash != std::string_view::npos) {
    const auto prefix = parse_number<std::uint32_t>("prefix length", rest.substr(slash + 1));
    if (!prefix.ok() || *prefix == 0 || *prefix > 128) {
      return absl::InvalidArgumentError(
          fmt::format("\"{}\": the prefix length is a number from 1 to 32, or 128 for IPv6", text));
    }
    address->set_prefix_length(*prefix);
    rest = rest.substr(0, slash);
  }
  if (rest.empty()) {
    return absl::InvalidArgumentError(
        fmt::format("\"{}\" is not an address: give for example 10.0.0.5 or 10.0.0.5/24@eth0", text));
  }
  address->set_address(std::string{rest});
  return absl::OkStatus();
}

absl::StatusOr<std::string> set_field(Message* message, std::string_view path, std::string_view value) {
  const auto mask = with_underscores(path);
  std::string_view rest = mask;
  while (true) {
    const auto dot = rest.find('.');
    const std::string name{rest.substr(0, dot)};
    const auto* field = message->GetDescriptor()->FindFieldByName(name);
    if (field == nullptr)
      return unknown_field(*message,
                           std::string_view{mask}.substr(0, mask.size() - rest.size() + name.size()), name);
    if (dot == std::string_view::npos) {
      message->GetReflection()->ClearField(message, field);
      if (!value.empty()) {
        UNDERSTUDY_RETURN_IF_ERROR(field->is_repeated() ? set_repeated(message, field, mask, value)
                                                        : set_single(message, field, mask, value));
      }
      return mask;
    }
    if (field->is_repeated() || field->cpp_type() != FieldDescriptor::CPPTYPE_MESSAGE) {
      return absl::InvalidArgumentError(fmt::format("{} has no parts: there is no \"{}\"", name, mask));
    }
    message = message->GetReflection()->MutableMessage(message, field);
    rest.remove_prefix(dot + 1);
  }
}

}  // namespace understudy::ctl
