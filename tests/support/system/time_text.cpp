#include "tests/support/system/time_text.hpp"

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <google/protobuf/util/time_util.h>

namespace understudy::test {

using google::protobuf::util::TimeUtil;
using std::chrono::milliseconds;
using std::chrono::system_clock;

system_clock::time_point time_of(const google::protobuf::Timestamp& stamp) {
  return system_clock::time_point(std::chrono::duration_cast<system_clock::duration>(
      std::chrono::nanoseconds(TimeUtil::TimestampToNanoseconds(stamp))));
}

std::optional<system_clock::time_point> parse_rfc3339(std::string_view text) {
  google::protobuf::Timestamp stamp;
  if (!TimeUtil::FromString(std::string(text), &stamp)) return std::nullopt;
  return time_of(stamp);
}

std::optional<system_clock::time_point> time_after(std::string_view text, std::string_view words) {
  const auto at = text.find(words);
  if (at == std::string_view::npos) return std::nullopt;
  std::string_view rest = text.substr(at + words.size());
  while (rest.starts_with(' ')) rest.remove_prefix(1);
  const auto end = rest.find('Z');
  if (end == std::string_view::npos) return std::nullopt;
  return parse_rfc3339(rest.substr(0, end + 1));
}

std::string clock_text(system_clock::time_point at) {
  const auto ms = std::chrono::duration_cast<milliseconds>(at.time_since_epoch()).count() % 1000;
  return fmt::format("{:%H:%M:%S}.{:03}", fmt::localtime(system_clock::to_time_t(at)), ms);
}

std::string duration_text(milliseconds length) {
  if (length < milliseconds{1000}) return fmt::format("{} ms", length.count());
  return fmt::format("{:.1f} s", static_cast<double>(length.count()) / 1000);
}

}  // namespace understudy::test
