// Whatever bytes stand in -wal, -shm and the database: no crash, no endless loop, no unbounded memory. The
// formats' checksums keep almost all of it out, so half of the rounds repair them after the change.

#include "tests/unit/capture_testing.hpp"

namespace understudy::capture_testing {
namespace {

std::string slurp(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

void spill(const std::string& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary | std::ios::trunc)
      .write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
}

std::span<std::byte> span_of(std::string& s) {
  return {reinterpret_cast<std::byte*>(s.data()), s.size()};
}

// Makes every checksum of the log right again, as far as its frames reach.
void repair_log(std::string& wal) {
  if (wal.size() < sqlite::wal_header_bytes) return;
  auto put = [&](std::size_t at, sqlite::wal_checksum c) {
    const std::uint32_t big[2] = {__builtin_bswap32(c.s0), __builtin_bswap32(c.s1)};
    std::memcpy(&wal[at], big, 8);
  };
  auto chain = sqlite::update({}, span_of(wal).first(24), false);
  put(24, chain);
  const std::size_t frame = sqlite::wal_frame_header_bytes + 4096;
  for (std::size_t at = sqlite::wal_header_bytes; at + frame <= wal.size(); at += frame) {
    std::memcpy(&wal[at + 8], &wal[16], 8);
    chain = sqlite::frame_checksum(chain, span_of(wal).subspan(at, 8), span_of(wal).subspan(at + 24, 4096),
                                   false);
    put(at + 16, chain);
  }
}

TEST(CaptureHostile, SurvivesChangedFiles) {
  temporary_directory made;
  const std::string origin = made.file("origin.db");
  make_database(origin);
  {
    application app([&](shared_figures& figures) {
      connection c(origin);
      for (int i = 0; i < 20; ++i) c.must("INSERT INTO t(a, b) VALUES(1, randomblob(700))");
      figures.pause(1);
    });
    ASSERT_TRUE(app.reached(1));
    app.kill();
  }
  const std::string database = slurp(origin);
  const std::string wal = slurp(origin + "-wal");
  ASSERT_GT(wal.size(), 20u * 4096);
  auto engine = start_engine();
  std::mt19937 random(20261122);
  const int rounds = soak() ? 5000 : 300;
  int ready = 0;
  for (int round = 0; round < rounds; ++round) {
    const std::string path = made.file("h" + std::to_string(round) + ".db");
    std::string changed_database = database;
    std::string changed_wal = wal;
    for (unsigned i = 0, n = 1 + random() % 4; i < n; ++i) {
      // Most changes hit headers, where the meaning is.
      const std::size_t frame = 32 + (random() % 20) * 4120;
      switch (random() % 5) {
        case 0:
          changed_wal[random() % 32] = static_cast<char>(random());
          break;
        case 1:
          changed_wal[(frame + random() % 24) % wal.size()] = static_cast<char>(random());
          break;
        case 2:
          changed_wal.resize(random() % wal.size()), changed_wal.resize(wal.size());
          break;
        case 3:
          changed_database[random() % 100] = static_cast<char>(random());
          break;
        default:
          changed_wal[random() % wal.size()] = static_cast<char>(random());
          break;
      }
    }
    if (round % 2 == 0) repair_log(changed_wal);
    spill(path, changed_database);
    spill(path + "-wal", changed_wal);
    auto source = engine->add(path);
    ASSERT_TRUE(eventually([&] {
      const auto state = source->state();
      return state.now == channel::source_state::phase::ready ||
             state.now == channel::source_state::phase::refused;
    })) << "round "
        << round;
    if (source->state().now == channel::source_state::phase::ready) {
      ++ready;
      const auto pages = source->state().database_pages;
      for (const std::uint32_t page : {0u, 1u, pages, pages + 1, 0xffffffffu}) (void)source->read_page(page);
      (void)source->block_hashes(1, 0xffffffff, 0xffffffff);
      (void)source->hashes(0xffffffff, 0xffffffff);
    }
    engine->remove(path);
    std::filesystem::remove(path);
    std::filesystem::remove(path + "-wal");
  }
  EXPECT_GT(ready, rounds / 4);
}

// The same while the capture follows: the index and the log change under it at random.
TEST(CaptureHostile, SurvivesAnIndexThatChangesUnderIt) {
  temporary_directory made;
  const std::string path = made.file("app.db");
  make_database(path);
  application app([&](shared_figures& figures) {
    connection c(path);
    for (int i = 0; i < 20; ++i) c.must("INSERT INTO t(a, b) VALUES(1, randomblob(700))");
    figures.pause(1);
  });
  ASSERT_TRUE(app.reached(1));
  auto engine = start_engine();
  auto source = engine->add(path);
  ASSERT_TRUE(eventually([&] { return source->state().now == channel::source_state::phase::ready; }));
  std::mt19937 random(7);
  const int wal = ::open((path + "-wal").c_str(), O_RDWR);
  const int shm = ::open((path + "-shm").c_str(), O_RDWR);
  for (int round = 0; round < (soak() ? 20000 : 1000); ++round) {
    std::byte header[48];
    ASSERT_EQ(::pread(shm, header, sizeof header, 0), 48);
    header[random() % 40] = std::byte(random());
    const auto sum = sqlite::update({}, std::span(header).first(40), false);
    std::memcpy(header + 40, &sum, 8);
    ASSERT_EQ(::pwrite(shm, header, sizeof header, 48), 48);
    ASSERT_EQ(::pwrite(shm, header, sizeof header, 0), 48);
    const char junk = static_cast<char>(random());
    if (round % 3 == 0) {
      ASSERT_EQ(::pwrite(wal, &junk, 1, static_cast<off_t>(random() % 80000)), 1);
    }
    if (round % 16 == 0) std::this_thread::sleep_for(1ms);
  }
  ::close(wal);
  ::close(shm);
  app.kill();
  const auto state = source->state();
  EXPECT_LT(state.database_pages, 100000u);
}

}  // namespace
}  // namespace understudy::capture_testing
