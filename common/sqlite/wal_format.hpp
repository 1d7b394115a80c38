#pragma once

// The bytes of SQLite's write-ahead log and wal-index, as documented in https://sqlite.org/walformat.html and
// https://sqlite.org/fileformat2.html#walformat. Pure functions; nothing here touches a file.

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

namespace understudy::sqlite {

inline constexpr std::size_t wal_header_bytes = 32;
inline constexpr std::size_t wal_frame_header_bytes = 24;
inline constexpr std::size_t wal_index_header_bytes = 48;  // one copy; two stand at offset 0
inline constexpr std::size_t wal_index_is_init_offset = 12;
inline constexpr std::size_t wal_index_ckpt_info_offset =
    96;  // nBackfill, aReadMark[5], locks, nBackfillAttempted

// Lock bytes in the -shm file (https://sqlite.org/walformat.html#wal_locks).
inline constexpr int shm_lock_write = 120;
inline constexpr int shm_lock_checkpoint = 121;
inline constexpr int shm_lock_recover = 122;
inline constexpr int shm_lock_read0 = 123;  // READ1..READ4 follow: 124..127
inline constexpr int shm_lock_read4 = 127;
inline constexpr int shm_lock_dms = 128;  // "dead man's switch": held shared by every connection

// Lock bytes in the database file (os.h, "The following constants specify the range of bytes").
inline constexpr std::int64_t db_pending_byte = 0x40000000;
inline constexpr std::int64_t db_reserved_byte = db_pending_byte + 1;
inline constexpr std::int64_t db_shared_first = db_pending_byte + 2;
inline constexpr std::int64_t db_shared_size = 510;

// The page that holds the lock bytes; SQLite never stores data in it (1 GiB into the file).
constexpr std::uint32_t lock_page(std::uint32_t page_size) {
  return static_cast<std::uint32_t>(db_pending_byte / page_size) + 1;
}

constexpr bool valid_page_size(std::uint32_t n) {
  return n >= 512 && n <= 65536 && (n & (n - 1)) == 0;
}

using salts = std::array<std::uint32_t, 2>;

// Fletcher-like checksum over 32-bit words; `big_endian` is the word order that the WAL's magic names.
struct wal_checksum {
  std::uint32_t s0 = 0;
  std::uint32_t s1 = 0;
  friend bool operator==(const wal_checksum&, const wal_checksum&) = default;
};
// data.size() is a multiple of 8.
wal_checksum update(wal_checksum seed, std::span<const std::byte> data, bool big_endian);

struct wal_header {
  bool big_endian_checksum = false;
  std::uint32_t page_size = 0;
  std::uint32_t checkpoint_sequence = 0;
  salts salt{};
  wal_checksum checksum;
};
// Empty unless magic, version, page size and checksum are all right.
std::optional<wal_header> parse_wal_header(std::span<const std::byte, wal_header_bytes> bytes);
// Computes the checksum itself and returns it in the header's `checksum`.
std::array<std::byte, wal_header_bytes> encode(wal_header& header);

struct wal_frame_header {
  std::uint32_t page_number = 0;
  std::uint32_t commit_pages = 0;  // database size in pages after this commit; 0: not a commit frame
  salts salt{};
  wal_checksum checksum;
};
// Only splits the fields; the caller checks salt and checksum.
wal_frame_header parse_frame_header(std::span<const std::byte, wal_frame_header_bytes> bytes);
// The cumulative checksum of a frame: over the first 8 bytes of its header, then the page.
wal_checksum frame_checksum(wal_checksum previous, std::span<const std::byte> header,
                            std::span<const std::byte> page, bool big_endian);
// Encodes the header and returns in `chain` the new cumulative checksum.
std::array<std::byte, wal_frame_header_bytes> encode_frame_header(std::uint32_t page_number,
                                                                  std::uint32_t commit_pages, salts salt,
                                                                  std::span<const std::byte> page,
                                                                  bool big_endian, wal_checksum& chain);

// WalIndexHdr of wal.c: native byte order.
struct wal_index_header {
  std::uint32_t version = 0;
  std::uint32_t change = 0;  // iChange: grows by one with each transaction
  bool initialised = false;
  bool big_endian_checksum = false;
  std::uint32_t page_size = 0;
  std::uint32_t max_frame = 0;  // mxFrame: last valid frame
  std::uint32_t pages = 0;      // nPage: database size
  wal_checksum frame_checksum;  // of frame max_frame
  salts salt{};
  friend bool operator==(const wal_index_header&, const wal_index_header&) = default;
};
// Given the first 96 bytes of -shm: empty unless both copies are equal, initialised and rightly checksummed.
std::optional<wal_index_header> parse_wal_index(std::span<const std::byte, 2 * wal_index_header_bytes> bytes);

constexpr std::uint64_t frame_offset(std::uint32_t frame, std::uint32_t page_size) {  // frame counts from 1
  return wal_header_bytes + std::uint64_t{frame - 1} * (wal_frame_header_bytes + page_size);
}

// The fields of a database file's first 100 bytes that we use (fileformat2.html, "The Database Header").
struct database_header {
  std::uint32_t page_size = 0;
  bool wal_mode = false;  // both version numbers are 2
  std::uint32_t change_counter = 0;
  std::uint32_t pages = 0;  // in-header size; valid when change_counter == version_valid_for
  std::uint32_t schema_cookie = 0;
  std::uint32_t version_valid_for = 0;
  std::uint32_t sqlite_version = 0;  // 3040001 for 3.40.1
};
// Empty unless the magic string and the page size are right.
std::optional<database_header> parse_database_header(std::span<const std::byte, 100> bytes);

}  // namespace understudy::sqlite
