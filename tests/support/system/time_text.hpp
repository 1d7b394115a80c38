#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>

namespace google::protobuf {
class Timestamp;
}

namespace understudy::test {

// "2026-11-22T15:40:16.123Z" -> the moment; nothing when it is none.
std::optional<std::chrono::system_clock::time_point> parse_rfc3339(std::string_view text);
// The first such moment after `words` in `text`.
std::optional<std::chrono::system_clock::time_point> time_after(std::string_view text,
                                                                std::string_view words);
std::chrono::system_clock::time_point time_of(const google::protobuf::Timestamp& stamp);
// "15:40:16.123", local time.
std::string clock_text(std::chrono::system_clock::time_point at);
// "3 ms", "1.2 s", "0 ms".
std::string duration_text(std::chrono::milliseconds length);

}  // namespace understudy::test
