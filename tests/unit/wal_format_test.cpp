// The formats against files that SQLite itself made, and against hostile bytes.

#include "common/sqlite/wal_format.hpp"

#include <random>

#include "tests/unit/capture_testing.hpp"

namespace understudy::sqlite {
namespace {

using capture_testing::connection;
using capture_testing::temporary_directory;

std::vector<std::byte> read_all(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::vector<char> bytes((std::istreambuf_iterator<char>(in)), {});
  const auto* first = reinterpret_cast<const std::byte*>(bytes.data());
  return {first, first + bytes.size()};
}

class WalFormat : public testing::TestWithParam<int> {};

TEST_P(WalFormat, ReadsWhatSqliteWrites) {
  const temporary_directory directory;
  const std::string path = directory.file("a.db");
  connection c(path);
  c.must("PRAGMA page_size=" + std::to_string(GetParam()) + "; PRAGMA journal_mode=WAL");
  c.must("CREATE TABLE t(a)");
  c.must("INSERT INTO t VALUES(randomblob(5000))");
  c.must("INSERT INTO t VALUES(randomblob(50))");

  const auto database = read_all(path);
  ASSERT_GE(database.size(), 100u);
  const auto header = parse_database_header(std::span(database).first<100>());
  ASSERT_TRUE(header);
  EXPECT_EQ(header->page_size, static_cast<std::uint32_t>(GetParam()));
  EXPECT_TRUE(header->wal_mode);
  EXPECT_EQ(header->sqlite_version, static_cast<std::uint32_t>(::sqlite3_libversion_number()));

  const auto shm = read_all(path + "-shm");
  ASSERT_GE(shm.size(), 96u);
  const auto index = parse_wal_index(std::span(shm).first<96>());
  ASSERT_TRUE(index);
  EXPECT_EQ(index->page_size, static_cast<std::uint32_t>(GetParam()));
  EXPECT_EQ(index->change, 3u);

  const auto wal = read_all(path + "-wal");
  const auto log = parse_wal_header(std::span(wal).first<wal_header_bytes>());
  ASSERT_TRUE(log);
  EXPECT_EQ(log->page_size, static_cast<std::uint32_t>(GetParam()));
  EXPECT_EQ(log->salt, index->salt) << "salts are big-endian in both files";
  EXPECT_EQ(log->big_endian_checksum, index->big_endian_checksum);

  wal_checksum chain = log->checksum;
  std::uint32_t commits = 0;
  std::uint32_t pages = 0;
  for (std::uint32_t frame = 1; frame <= index->max_frame; ++frame) {
    const auto offset = frame_offset(frame, log->page_size);
    ASSERT_LE(offset + wal_frame_header_bytes + log->page_size, wal.size());
    const auto bytes = std::span(wal).subspan(offset, wal_frame_header_bytes + log->page_size);
    const auto parsed = parse_frame_header(bytes.first<wal_frame_header_bytes>());
    chain = frame_checksum(chain, bytes.first(8), bytes.subspan(wal_frame_header_bytes),
                           log->big_endian_checksum);
    ASSERT_EQ(parsed.checksum, chain) << "frame " << frame;
    ASSERT_EQ(parsed.salt, log->salt);
    if (parsed.commit_pages != 0) ++commits, pages = parsed.commit_pages;
  }
  EXPECT_EQ(chain, index->frame_checksum);
  EXPECT_EQ(commits, index->change);
  EXPECT_EQ(pages, index->pages);
}

INSTANTIATE_TEST_SUITE_P(PageSizes, WalFormat, testing::Values(512, 1024, 4096, 32768, 65536));

TEST(WalFormatEncoding, SqliteReadsWhatWeEncode) {
  const temporary_directory directory;
  const std::string path = directory.file("a.db");
  std::vector<std::byte> changed;
  {
    connection c(path);
    c.must("PRAGMA journal_mode=WAL; CREATE TABLE t(a); INSERT INTO t VALUES(1)");
  }
  {
    connection c(directory.file("b.db"));
    c.must("PRAGMA journal_mode=WAL; CREATE TABLE t(a); INSERT INTO t VALUES(4711)");
  }
  changed = read_all(directory.file("b.db"));
  wal_header header{
      .page_size = 4096, .checkpoint_sequence = 7, .salt = {0x01020304, 0xfffefdfc}, .checksum = {}};
  std::ofstream out(path + "-wal", std::ios::binary);
  const auto first = encode(header);
  out.write(reinterpret_cast<const char*>(first.data()), first.size());
  wal_checksum chain = header.checksum;
  for (std::uint32_t page = 1; page <= changed.size() / 4096; ++page) {
    const auto bytes = std::span(changed).subspan((page - 1) * 4096, 4096);
    const auto commit = page == changed.size() / 4096 ? page : 0;
    const auto frame = encode_frame_header(page, commit, header.salt, bytes, false, chain);
    out.write(reinterpret_cast<const char*>(frame.data()), frame.size());
    out.write(reinterpret_cast<const char*>(bytes.data()), 4096);
  }
  out.close();
  connection c(path);
  sqlite3_stmt* statement = nullptr;
  ASSERT_EQ(::sqlite3_prepare_v2(c.handle(), "SELECT a FROM t", -1, &statement, nullptr), SQLITE_OK);
  ASSERT_EQ(::sqlite3_step(statement), SQLITE_ROW);
  EXPECT_EQ(::sqlite3_column_int(statement, 0), 4711);
  ::sqlite3_finalize(statement);
}

TEST(WalFormatHostile, OneChangedBitIsNeverAccepted) {
  const temporary_directory directory;
  const std::string path = directory.file("a.db");
  connection c(path);
  c.must("PRAGMA journal_mode=WAL; CREATE TABLE t(a)");
  auto shm = read_all(path + "-shm");
  auto wal = read_all(path + "-wal");
  for (std::size_t bit = 0; bit < 96 * 8; ++bit) {
    shm[bit / 8] ^= std::byte(1u << bit % 8);
    EXPECT_FALSE(parse_wal_index(std::span(shm).first<96>())) << "bit " << bit;
    shm[bit / 8] ^= std::byte(1u << bit % 8);
  }
  for (std::size_t bit = 0; bit < 32 * 8; ++bit) {
    wal[bit / 8] ^= std::byte(1u << bit % 8);
    EXPECT_FALSE(parse_wal_header(std::span(wal).first<32>())) << "bit " << bit;
    wal[bit / 8] ^= std::byte(1u << bit % 8);
  }
}

TEST(WalFormatHostile, RandomBytesAreRefused) {
  std::mt19937 random(1);
  std::array<std::byte, 100> bytes;
  for (int round = 0; round < 20000; ++round) {
    for (auto& b : bytes) b = std::byte(random());
    EXPECT_FALSE(parse_wal_header(std::span(bytes).first<32>()));
    EXPECT_FALSE(parse_wal_index(std::span(bytes).first<96>()));
    EXPECT_FALSE(parse_database_header(bytes));
  }
}

}  // namespace
}  // namespace understudy::sqlite
