#pragma once

// How far somebody has read the row changes of a server's databases, as text that he keeps.
//
// Databases separated by commas, each CATALOG:STATE:REGISTER:DELIVERED:WANTED, numbers in hexadecimal: the
// state of the history up to which everything was delivered, half of its register (that the same number still
// means the same state), and how many changes of the transaction after it were delivered to a reader who
// wanted the tables whose names give the hash WANTED.

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>

namespace understudy::rows {

struct position {
  std::uint64_t state = 0;
  std::uint64_t image = 0;
  std::uint64_t delivered = 0;
  std::uint64_t wanted = 0;
  friend bool operator==(const position&, const position&) = default;
};
using positions = std::map<std::string, position>;  // by catalog

std::string to_text(const positions& at);
std::optional<positions> parse_positions(std::string_view text);

}  // namespace understudy::rows
