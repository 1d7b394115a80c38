#include "common/channel/wire.hpp"

#include <algorithm>

#include "common/rpc/rpc_status.hpp"
#include "common/rpc/utf8.hpp"
#include "common/status/status_text.hpp"

namespace understudy::channel {

using std::chrono::duration_cast;
using std::chrono::nanoseconds;
using std::chrono::seconds;

std::chrono::system_clock::time_point from_wire(const google::protobuf::Timestamp& time) {
  constexpr std::int64_t LAST = 4102444800;  // s: the year 2100, well inside what 64 bits of nanoseconds hold
  const seconds whole{std::clamp<std::int64_t>(time.seconds(), 0, LAST)};
  const nanoseconds part{std::clamp<std::int32_t>(time.nanos(), 0, 999999999)};
  return std::chrono::system_clock::time_point{
      duration_cast<std::chrono::system_clock::duration>(whole + part)};
}

void to_wire(std::chrono::system_clock::time_point time, google::protobuf::Timestamp* out) {
  const nanoseconds since = duration_cast<nanoseconds>(time.time_since_epoch());
  const seconds whole = std::chrono::floor<seconds>(since);
  out->set_seconds(whole.count());
  out->set_nanos(static_cast<std::int32_t>((since - whole).count()));
}

void to_wire(const absl::Status& status, v1::StreamEnd* out) {
  out->set_code(static_cast<int>(status.code()));
  out->set_message(clean_text(message_of(status)));
  out->set_reason(clean_text(rpc::reason_of(status)));
}

absl::Status from_wire(const v1::StreamEnd& end) {
  const bool known = end.code() > 0 && end.code() <= static_cast<int>(absl::StatusCode::kUnauthenticated);
  const absl::Status status{known ? static_cast<absl::StatusCode>(end.code()) : absl::StatusCode::kUnknown,
                            clean_text(end.message())};
  return end.reason().empty() ? status : rpc::with_reason(status, clean_text(end.reason()));
}

std::string clean_text(std::string_view text) {
  std::string result;
  for (std::size_t at = 0; at < text.size() && result.size() + 4 <= REASON_BYTES;) {
    const std::size_t length = rpc::utf8_length(text, at);
    const bool control = length == 1 && static_cast<unsigned char>(text[at]) < 0x20 && text[at] != '\t';
    if (length > 0 && !control) {
      result.append(text.substr(at, length));
      at += length;
    } else {
      result.push_back('?');
      ++at;
    }
  }
  return result;
}

void append_hash(std::uint64_t low, std::string& out) {
  for (int shift = 0; shift < 64; shift += 8) out.push_back(static_cast<char>(low >> shift));
}

std::uint64_t hash_at(const std::string& hashes, std::size_t index) {
  std::uint64_t value = 0;
  for (std::size_t byte = 0; byte < HASH_BYTES; ++byte) {
    value |= std::uint64_t{static_cast<unsigned char>(hashes[index * HASH_BYTES + byte])} << (8 * byte);
  }
  return value;
}

}  // namespace understudy::channel
