#include "common/sqlite/wal_format.hpp"

#include <bit>
#include <cstring>

namespace understudy::sqlite {
namespace {

std::uint32_t big(const std::byte* p) {
  std::uint32_t v;
  std::memcpy(&v, p, sizeof v);
  return std::endian::native == std::endian::little ? __builtin_bswap32(v) : v;
}

void put_big(std::byte* p, std::uint32_t v) {
  if (std::endian::native == std::endian::little) v = __builtin_bswap32(v);
  std::memcpy(p, &v, sizeof v);
}

std::uint32_t native(const std::byte* p) {
  std::uint32_t v;
  std::memcpy(&v, p, sizeof v);
  return v;
}

constexpr std::uint32_t wal_magic = 0x377f0682;  // the low bit: checksums over big-endian words
constexpr std::uint32_t wal_version = 3007000;

template <bool Swap>
wal_checksum sum(wal_checksum c, std::span<const std::byte> data) {
  const std::byte* p = data.data();
  const std::byte* const end = p + data.size();
  for (; p < end; p += 8) {
    std::uint32_t a = native(p);
    std::uint32_t b = native(p + 4);
    if constexpr (Swap) {
      a = __builtin_bswap32(a);
      b = __builtin_bswap32(b);
    }
    c.s0 += a + c.s1;
    c.s1 += b + c.s0;
  }
  return c;
}

}  // namespace

wal_checksum update(wal_checksum seed, std::span<const std::byte> data, bool big_endian) {
  const bool swap = big_endian != (std::endian::native == std::endian::big);
  return swap ? sum<true>(seed, data) : sum<false>(seed, data);
}

std::optional<wal_header> parse_wal_header(std::span<const std::byte, wal_header_bytes> bytes) {
  const std::uint32_t magic = big(bytes.data());
  if ((magic & ~1u) != wal_magic || big(&bytes[4]) != wal_version) return std::nullopt;
  wal_header header{
      .big_endian_checksum = (magic & 1) != 0,
      .page_size = big(&bytes[8]),
      .checkpoint_sequence = big(&bytes[12]),
      .salt = {big(&bytes[16]), big(&bytes[20])},
      .checksum = {big(&bytes[24]), big(&bytes[28])},
  };
  if (!valid_page_size(header.page_size)) return std::nullopt;
  if (update({}, bytes.first<24>(), header.big_endian_checksum) != header.checksum) return std::nullopt;
  return header;
}

std::array<std::byte, wal_header_bytes> encode(wal_header& header) {
  std::array<std::byte, wal_header_bytes> bytes{};
  put_big(&bytes[0], wal_magic | (header.big_endian_checksum ? 1u : 0u));
  put_big(&bytes[4], wal_version);
  put_big(&bytes[8], header.page_size);
  put_big(&bytes[12], header.checkpoint_sequence);
  put_big(&bytes[16], header.salt[0]);
  put_big(&bytes[20], header.salt[1]);
  header.checksum = update({}, std::span(bytes).first(24), header.big_endian_checksum);
  put_big(&bytes[24], header.checksum.s0);
  put_big(&bytes[28], header.checksum.s1);
  return bytes;
}

wal_frame_header parse_frame_header(std::span<const std::byte, wal_frame_header_bytes> bytes) {
  return {
      .page_number = big(&bytes[0]),
      .commit_pages = big(&bytes[4]),
      .salt = {big(&bytes[8]), big(&bytes[12])},
      .checksum = {big(&bytes[16]), big(&bytes[20])},
  };
}

wal_checksum frame_checksum(wal_checksum previous, std::span<const std::byte> header,
                            std::span<const std::byte> page, bool big_endian) {
  return update(update(previous, header.first(8), big_endian), page, big_endian);
}

std::array<std::byte, wal_frame_header_bytes> encode_frame_header(std::uint32_t page_number,
                                                                  std::uint32_t commit_pages, salts salt,
                                                                  std::span<const std::byte> page,
                                                                  bool big_endian, wal_checksum& chain) {
  std::array<std::byte, wal_frame_header_bytes> bytes{};
  put_big(&bytes[0], page_number);
  put_big(&bytes[4], commit_pages);
  put_big(&bytes[8], salt[0]);
  put_big(&bytes[12], salt[1]);
  chain = frame_checksum(chain, bytes, page, big_endian);
  put_big(&bytes[16], chain.s0);
  put_big(&bytes[20], chain.s1);
  return bytes;
}

std::optional<wal_index_header> parse_wal_index(
    std::span<const std::byte, 2 * wal_index_header_bytes> bytes) {
  if (std::memcmp(bytes.data(), &bytes[wal_index_header_bytes], wal_index_header_bytes) != 0)
    return std::nullopt;
  const std::byte* p = bytes.data();
  if (std::to_integer<int>(p[12]) == 0) return std::nullopt;
  // aCksum[2] at offset 40 covers the 40 bytes before it, in native order (walIndexTryHdr in wal.c).
  const wal_checksum expected = update({}, bytes.first<40>(), std::endian::native == std::endian::big);
  if (expected != wal_checksum{native(p + 40), native(p + 44)}) return std::nullopt;
  std::uint16_t encoded_size;
  std::memcpy(&encoded_size, p + 14, sizeof encoded_size);
  wal_index_header header{
      .version = native(p),
      .change = native(p + 8),
      .initialised = true,
      .big_endian_checksum = std::to_integer<int>(p[13]) != 0,
      .page_size = (encoded_size & 0xfe00u) + ((encoded_size & 0x0001u) << 16),
      .max_frame = native(p + 16),
      .pages = native(p + 20),
      .frame_checksum = {native(p + 24), native(p + 28)},
      // wal.c copies the salts as they stand in the WAL header: big-endian, whatever the machine.
      .salt = {big(p + 32), big(p + 36)},
  };
  if (header.version != wal_version) return std::nullopt;
  return header;
}

std::optional<database_header> parse_database_header(std::span<const std::byte, 100> bytes) {
  if (std::memcmp(bytes.data(), "SQLite format 3", 16) != 0) return std::nullopt;
  const auto raw =
      (std::to_integer<std::uint32_t>(bytes[16]) << 8) | std::to_integer<std::uint32_t>(bytes[17]);
  const std::uint32_t page_size = raw == 1 ? 65536 : raw;
  if (!valid_page_size(page_size)) return std::nullopt;
  return database_header{
      .page_size = page_size,
      .wal_mode = bytes[18] == std::byte{2} && bytes[19] == std::byte{2},
      .change_counter = big(&bytes[24]),
      .pages = big(&bytes[28]),
      .schema_cookie = big(&bytes[40]),
      .version_valid_for = big(&bytes[92]),
      .sqlite_version = big(&bytes[96]),
  };
}

}  // namespace understudy::sqlite
