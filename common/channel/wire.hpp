#pragma once

// Conversions between our values and the messages of database.proto, and the limits both ends hold to.

#include <bit>
#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "common/sqlite/page_hash.hpp"
#include "understudy/v1/database.pb.h"

namespace understudy::channel {

constexpr std::uint32_t LARGEST_PAGE = 65536;               // bytes: SQLite's own limit
constexpr std::uint32_t LARGEST_PAGE_NUMBER = 4294967294u;  // SQLite's own limit
constexpr std::uint32_t LOCK_BYTE = 0x40000000;             // offset of the page that SQLite never stores
constexpr std::size_t PART_BYTES = 1u << 20;  // of pages in one message: memory of a queue, time to abandon
constexpr std::uint32_t QUESTION_HASHES = 4096;  // asked for at once: an answer of 32 KiB
constexpr std::uint32_t LARGEST_BLOCK = 4096;    // pages per hash
constexpr std::size_t REASON_BYTES = 400;        // of a reason: for people, not a channel for data
constexpr std::size_t HASH_BYTES = 8;            // of a hash in an answer

inline bool valid_page_size(std::uint32_t bytes) {
  return bytes >= 512 && bytes <= LARGEST_PAGE && std::has_single_bit(bytes);
}

inline sqlite::page_hash from_wire(const v1::PageHash& hash) {
  return {hash.high(), hash.low()};
}

inline void to_wire(const sqlite::page_hash& hash, v1::PageHash* out) {
  out->set_high(hash.high);
  out->set_low(hash.low);
}

// Any timestamp gives a time: what is out of range is clamped.
std::chrono::system_clock::time_point from_wire(const google::protobuf::Timestamp& time);
void to_wire(std::chrono::system_clock::time_point time, google::protobuf::Timestamp* out);

void to_wire(const absl::Status& status, v1::StreamEnd* out);
absl::Status from_wire(const v1::StreamEnd& end);  // never ok

// Text for a message or a log line: cut to REASON_BYTES, and valid UTF-8, without which proto3 refuses the
// message.
std::string clean_text(std::string_view text);

void append_hash(std::uint64_t low, std::string& out);  // little-endian
std::uint64_t hash_at(const std::string& hashes, std::size_t index);

}  // namespace understudy::channel
