#include "agent-primary/lease/right_record.hpp"

#include <fmt/core.h>

#include <charconv>
#include <map>
#include <sstream>

#include "common/os/file_system.hpp"
#include "common/status/status_macros.hpp"

namespace understudy::lease {
namespace {

// A record is lines of "key value", ended by a line "check HASH" over all before it. Values are on one line.
constexpr const char* file_name = "right";
constexpr const char* header = "understudy-right 1";
constexpr std::size_t largest_record = 64 << 10;  // bytes

// FNV-1a: it guards against a damaged file, not against an enemy, who could write any record he likes.
std::uint64_t check_of(std::string_view text) {
  std::uint64_t hash = 14695981039346656037u;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 1099511628211u;
  return hash;
}

std::string one_line(std::string_view text) {
  std::string result(text);
  for (char& c : result) {
    if (static_cast<unsigned char>(c) < 0x20) c = ' ';
  }
  return result;
}

template <class Number>
bool read_number(const std::string& text, Number& number) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  return error == std::errc() && end == text.data() + text.size();
}

absl::Status damaged(std::string_view what) {
  return absl::DataLossError(fmt::format("the record of the right to run is damaged: {}", what));
}

}  // namespace

const char* to_string(right_owner owner) {
  switch (owner) {
    case right_owner::unknown:
      return "unknown";
    case right_owner::primary:
      return "primary";
    case right_owner::failover_host:
      return "failover_host";
  }
  return "?";
}

std::string format_record(const right_record& record) {
  std::string text = fmt::format(
      "{}\nepoch {}\nowner {}\nowner_name {}\nreason {}\nsince {}\nhost {}\nserver {}\nleased {}\n", header,
      record.epoch, to_string(record.owner), one_line(record.owner_name), one_line(record.reason),
      record.since_unix, one_line(record.host_address), one_line(record.server), record.leased ? 1 : 0);
  for (const service_address& a : record.service_addresses) {
    text += fmt::format("address {}/{} {}\n", one_line(a.address), a.prefix_length, one_line(a.adapter));
  }
  return text + fmt::format("check {:016x}\n", check_of(text));
}

absl::StatusOr<right_record> parse_record(std::string_view text) {
  const std::size_t last = text.rfind("check ");
  if (last == std::string_view::npos || (last > 0 && text[last - 1] != '\n')) return damaged("it has no end");
  if (text.substr(last) != fmt::format("check {:016x}\n", check_of(text.substr(0, last)))) {
    return damaged("its check does not fit");
  }
  std::istringstream lines{std::string(text.substr(0, last))};
  std::string line;
  if (!std::getline(lines, line) || line != header)
    return damaged(fmt::format("\"{}\" is not a known version", line));
  right_record record;
  while (std::getline(lines, line)) {
    const std::size_t space = line.find(' ');
    const std::string key = line.substr(0, space);
    const std::string value = space == std::string::npos ? "" : line.substr(space + 1);
    bool good = true;
    if (key == "epoch") {
      good = read_number(value, record.epoch);
    } else if (key == "owner") {
      good = value == "unknown" || value == "primary" || value == "failover_host";
      record.owner = value == "primary"         ? right_owner::primary
                     : value == "failover_host" ? right_owner::failover_host
                                                : right_owner::unknown;
    } else if (key == "owner_name") {
      record.owner_name = value;
    } else if (key == "reason") {
      record.reason = value;
    } else if (key == "since") {
      good = read_number(value, record.since_unix);
    } else if (key == "host") {
      record.host_address = value;
    } else if (key == "server") {
      record.server = value;
    } else if (key == "leased") {
      record.leased = value == "1";
    } else if (key == "address") {
      service_address address;
      const std::size_t slash = value.find('/');
      const std::size_t gap = value.find(' ');
      good = slash != std::string::npos && gap != std::string::npos && slash < gap &&
             read_number(value.substr(slash + 1, gap - slash - 1), address.prefix_length);
      if (good) {
        address.address = value.substr(0, slash);
        address.adapter = value.substr(gap + 1);
        record.service_addresses.push_back(address);
      }
    }
    if (!good) return damaged(fmt::format("\"{}\"", line));
  }
  return record;
}

absl::StatusOr<right_record> load_record(os::directory& state) {
  absl::StatusOr<std::unique_ptr<os::file>> file = state.open(file_name, os::open_mode::read);
  if (absl::IsNotFound(file.status())) return right_record{};
  UNDERSTUDY_RETURN_IF_ERROR(file.status());
  std::string content(largest_record, '\0');
  UNDERSTUDY_ASSIGN_OR_RETURN(
      const std::size_t size,
      (*file)->read_at(std::as_writable_bytes(std::span(content.data(), content.size())), 0));
  content.resize(size);
  return parse_record(content);
}

absl::Status store_record(os::directory& state, const right_record& record) {
  return os::replace_file(state, file_name, format_record(record), 0640);
}

}  // namespace understudy::lease
