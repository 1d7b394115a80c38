// The parsers of SQLite's log, wal-index and database header against mutations of what SQLite wrote. What
// they accept must be whole; what they reject must cost nothing.

#include "agent-primary/capture/describe.hpp"
#include "tests/unit/capture_testing.hpp"

namespace understudy::capture_testing {
namespace {

// Calls `round` with a generator of its own until the time is over. A seed that fails is printed and can be
// run again by UNDERSTUDY_FUZZ_SEED.
void fuzz(const std::function<void(std::mt19937& random)>& round) {
  const char* one = std::getenv("UNDERSTUDY_FUZZ_SEED");
  const auto until = steady_clock::now() + (soak() ? std::chrono::seconds(600) : std::chrono::seconds(1));
  std::uint64_t rounds = 0;
  for (std::uint32_t seed = one ? static_cast<std::uint32_t>(std::strtoul(one, nullptr, 10)) : 1;;
       ++seed, ++rounds) {
    std::mt19937 random(seed);
    round(random);
    if (testing::Test::HasFailure()) {
      ADD_FAILURE() << "seed " << seed;
      return;
    }
    if (one || (rounds % 64 == 0 && steady_clock::now() >= until)) break;
  }
  testing::Test::RecordProperty("rounds", std::to_string(rounds));
}

// Bits, bytes, and the values at which integers turn.
void mutate(std::span<std::byte> bytes, std::mt19937& random) {
  for (unsigned i = 0, n = 1 + random() % 6; i < n; ++i) {
    const std::size_t at = random() % bytes.size();
    switch (random() % 4) {
      case 0:
        bytes[at] ^= std::byte(1u << random() % 8);
        break;
      case 1:
        bytes[at] = std::byte(random());
        break;
      default: {
        static constexpr std::uint32_t edges[] = {0,     1,          511,        512,       65535,
                                                  65536, 0x7fffffff, 0x80000000, 0xffffffff};
        const std::uint32_t value = edges[random() % std::size(edges)];
        const std::size_t word = at & ~std::size_t{3};
        if (word + 4 <= bytes.size()) std::memcpy(&bytes[word], &value, 4);
        break;
      }
    }
  }
}

std::vector<std::byte> head_of(const std::string& path, std::size_t size) {
  std::vector<std::byte> bytes(size);
  std::ifstream in(path, std::ios::binary);
  in.read(reinterpret_cast<char*>(bytes.data()), static_cast<std::streamsize>(size));
  return bytes;
}

struct WalFormatMutation : testing::Test {
  WalFormatMutation() {
    make_database(path);
    test::sqlite_shell app(path);
    if (!app.run("INSERT INTO t(b) VALUES(randomblob(9000)); DELETE FROM t WHERE id<4")) std::abort();
    wal = head_of(path + "-wal", sqlite::wal_header_bytes + 3 * (sqlite::wal_frame_header_bytes + 4096));
    index = head_of(path + "-shm", 2 * sqlite::wal_index_header_bytes);
    database = head_of(path, 100);
    app.kill();
  }

  temporary_directory directory;
  const std::string path = directory.file("app.db");
  std::vector<std::byte> wal, index, database;
};

TEST_F(WalFormatMutation, LogHeader) {
  const auto whole = std::span(wal).first<sqlite::wal_header_bytes>();
  ASSERT_TRUE(sqlite::parse_wal_header(whole));
  fuzz([&](std::mt19937& random) {
    auto bytes = std::vector<std::byte>(whole.begin(), whole.end());
    mutate(bytes, random);
    if (random() % 2 == 0) {
      const auto sum = sqlite::update({}, std::span(bytes).first(24), false);
      const std::uint32_t big[] = {__builtin_bswap32(sum.s0), __builtin_bswap32(sum.s1)};
      std::memcpy(&bytes[24], big, sizeof big);
    }
    auto parsed = sqlite::parse_wal_header(std::span(bytes).first<sqlite::wal_header_bytes>());
    if (!parsed) return;
    EXPECT_TRUE(sqlite::valid_page_size(parsed->page_size));
    const auto again = sqlite::encode(*parsed);
    EXPECT_TRUE(std::equal(again.begin(), again.end(), bytes.begin()));
  });
}

// The chain finds every mutation of what it covers: page number, commit mark and page.
TEST_F(WalFormatMutation, FrameChain) {
  const auto header = sqlite::parse_wal_header(std::span(wal).first<sqlite::wal_header_bytes>());
  ASSERT_TRUE(header);
  const auto frame = std::span(wal).subspan(sqlite::wal_header_bytes, sqlite::wal_frame_header_bytes + 4096);
  const auto sum_of = [&](std::span<const std::byte> bytes) {
    return sqlite::frame_checksum(header->checksum, bytes.first(8), bytes.subspan(24),
                                  header->big_endian_checksum);
  };
  const auto right = sqlite::parse_frame_header(frame.first<sqlite::wal_frame_header_bytes>()).checksum;
  ASSERT_EQ(sum_of(frame), right);
  fuzz([&](std::mt19937& random) {
    auto bytes = std::vector<std::byte>(frame.begin(), frame.end());
    const std::size_t at = random() % 2 == 0 ? random() % 8 : 24 + random() % 4096;
    bytes[at] ^= std::byte(1u << random() % 8);
    EXPECT_NE(sum_of(bytes), right) << "byte " << at;
  });
}

TEST_F(WalFormatMutation, WalIndex) {
  ASSERT_TRUE(sqlite::parse_wal_index(std::span(index).first<2 * sqlite::wal_index_header_bytes>()));
  fuzz([&](std::mt19937& random) {
    auto bytes = index;
    mutate(bytes, random);
    const unsigned repair = random() % 3;
    if (repair != 0) {
      const auto sum = sqlite::update({}, std::span(bytes).first(40), false);
      std::memcpy(&bytes[40], &sum, 8);
    }
    if (repair == 2) std::copy_n(bytes.begin(), 48, bytes.begin() + 48);
    const auto parsed = sqlite::parse_wal_index(std::span(bytes).first<2 * sqlite::wal_index_header_bytes>());
    if (!parsed) return;
    EXPECT_TRUE(parsed->initialised);
    EXPECT_TRUE(std::equal(bytes.begin(), bytes.begin() + 48, bytes.begin() + 48)) << "torn";
  });
}

TEST_F(WalFormatMutation, DatabaseHeaderAndDescription) {
  ASSERT_TRUE(sqlite::parse_database_header(std::span(database).first<100>()));
  const std::string changed = directory.file("changed.db");
  std::filesystem::copy_file(path, changed);
  const os::unique_fd file(::open(changed.c_str(), O_RDWR | O_CLOEXEC));
  fuzz([&](std::mt19937& random) {
    auto bytes = database;
    mutate(bytes, random);
    if (const auto parsed = sqlite::parse_database_header(std::span(bytes).first<100>())) {
      EXPECT_TRUE(sqlite::valid_page_size(parsed->page_size));
    }
    if (random() % 16 != 0) return;
    ASSERT_EQ(::pwrite(file.value(), bytes.data(), bytes.size(), 0), 100);
    const auto described = capture::describe_database(changed);
    EXPECT_TRUE(described.can_be_captured || !described.problem.empty());
  });
}

}  // namespace
}  // namespace understudy::capture_testing
