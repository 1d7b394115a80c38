// Pages of the primary's file that are not what was committed: found, counted, and kept from the copies.

#include "tests/unit/capture_testing.hpp"

namespace understudy::capture_testing {
namespace {

struct CaptureDamage : testing::Test {
  CaptureDamage() { make_database(path, "", 2000); }

  void write_page(std::uint32_t page, const std::string& bytes) const {
    std::fstream file(path, std::ios::binary | std::ios::in | std::ios::out);
    file.seekp(static_cast<std::streamoff>((page - 1) * 4096));
    file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  }
  void flip_a_byte_of(std::uint32_t page) const {
    std::string bytes = pages_of_file(path, 4096).at(page - 1);
    bytes[2000] = static_cast<char>(bytes[2000] ^ 0x55);
    write_page(page, bytes);
  }
  void verify(capture::capture_engine& engine) const {
    const auto rounds = engine.metrics(path).verify_rounds;
    engine.verify(path);
    ASSERT_TRUE(eventually([&] { return engine.metrics(path).verify_rounds > rounds; }));
  }

  temporary_directory directory;
  const std::string path = directory.file("app.db");
};

TEST_F(CaptureDamage, IsFoundAndDoesNotTravel) {
  test::sqlite_shell app(path);
  ASSERT_TRUE(app.run("INSERT INTO t(a) VALUES(1); PRAGMA wal_checkpoint"));
  auto engine = start_engine();
  auto source = engine->add(path);
  mirror copy(source);
  ASSERT_TRUE(copy.attach());
  ASSERT_NO_FATAL_FAILURE(verify(*engine));
  EXPECT_EQ(engine->metrics(path).divergences, 0u);
  const auto good = source->hashes(21, 1).at(0);

  flip_a_byte_of(21);
  ASSERT_NO_FATAL_FAILURE(verify(*engine));
  EXPECT_EQ(engine->metrics(path).divergences, 1u);
  EXPECT_EQ(engine->metrics(path).damaged_pages, 1u);
  EXPECT_EQ(source->hashes(21, 1).at(0), good);
  ASSERT_TRUE(copy.drain(50ms)) << copy.reason();
  EXPECT_EQ(copy.transactions(), 0u);

  // Commits go on, and a copy that subscribes again is in step as it is.
  ASSERT_TRUE(app.run("INSERT INTO t(a) VALUES(2)"));
  ASSERT_TRUE(eventually([&] { return copy.drain(1ms) && copy.transactions() == 1; })) << copy.reason();
  copy.detach();
  ASSERT_TRUE(copy.attach());
  EXPECT_EQ(copy.healed_pages(), 0u);
  ASSERT_NO_FATAL_FAILURE(verify(*engine));
  EXPECT_EQ(engine->metrics(path).divergences, 1u) << "counted once";

  // What the application writes counts, whatever stood there.
  ASSERT_TRUE(app.run("UPDATE t SET b=randomblob(100)"));
  ASSERT_TRUE(eventually([&] { return copy.drain(1ms) && engine->metrics(path).damaged_pages == 0; }));
  EXPECT_NE(source->hashes(21, 1).at(0), good);
  copy.follow([] { return true; });
  copy.expect_consistent();
}

// SQLite's WAL-reset defect (before 3.51.3): a page of a checkpointed transaction never reached the file,
// which still has the version before.
TEST_F(CaptureDamage, FindsACommitThatNoCheckpointCarriedOver) {
  test::sqlite_shell app(path);
  ASSERT_TRUE(app.run("SELECT count(*) FROM t; INSERT INTO t(a) VALUES(1); PRAGMA wal_checkpoint"));
  auto engine = start_engine();
  mirror copy(engine->add(path));
  ASSERT_TRUE(copy.attach());
  const std::string before = pages_of_file(path, 4096).at(20);
  ASSERT_TRUE(app.run("UPDATE t SET b=randomblob(100) WHERE id BETWEEN 500 AND 800"));
  ASSERT_TRUE(eventually([&] { return copy.drain(1ms) && copy.transactions() == 1; }));
  ASSERT_TRUE(app.run("PRAGMA wal_checkpoint(TRUNCATE)"));
  ASSERT_NE(pages_of_file(path, 4096).at(20), before) << "page 21 was not written: the test means nothing";
  write_page(21, before);
  ASSERT_TRUE(app.run("INSERT INTO t(a) VALUES(2)"));
  ASSERT_NO_FATAL_FAILURE(verify(*engine));
  EXPECT_EQ(engine->metrics(path).divergences, 1u);
  EXPECT_EQ(engine->metrics(path).damaged_pages, 1u);
  ASSERT_TRUE(eventually([&] { return copy.drain(1ms) && copy.transactions() == 2; })) << copy.reason();
  EXPECT_EQ(copy.gaps(), 0u);
  copy.expect_pages_match_register();
}

// A file that is put right again is no longer damaged.
TEST_F(CaptureDamage, EndsWhenThePageIsAsItWas) {
  test::sqlite_shell app(path);
  ASSERT_TRUE(app.run("INSERT INTO t(a) VALUES(1); PRAGMA wal_checkpoint"));
  auto engine = start_engine();
  mirror copy(engine->add(path));
  ASSERT_TRUE(copy.attach());
  flip_a_byte_of(21);
  ASSERT_NO_FATAL_FAILURE(verify(*engine));
  EXPECT_EQ(engine->metrics(path).damaged_pages, 1u);
  flip_a_byte_of(21);
  ASSERT_NO_FATAL_FAILURE(verify(*engine));
  EXPECT_EQ(engine->metrics(path).damaged_pages, 0u);
}

// A first copy has nothing better than what the file has.
TEST_F(CaptureDamage, AFirstCopyGetsWhatThereIs) {
  test::sqlite_shell app(path);
  ASSERT_TRUE(app.run("INSERT INTO t(a) VALUES(1); PRAGMA wal_checkpoint"));
  auto engine = start_engine();
  auto source = engine->add(path);
  ASSERT_TRUE(eventually([&] { return source->state().now == channel::source_state::phase::ready; }));
  flip_a_byte_of(21);
  ASSERT_NO_FATAL_FAILURE(verify(*engine));
  ASSERT_EQ(engine->metrics(path).damaged_pages, 1u);
  mirror copy(source);
  ASSERT_TRUE(copy.attach());
  ASSERT_TRUE(eventually([&] { return copy.drain(1ms) && copy.transactions() == 1; })) << copy.reason();
  EXPECT_EQ(engine->metrics(path).damaged_pages, 0u);
  ASSERT_TRUE(app.close());
  copy.follow([] { return true; });
  copy.expect_equals(path);
  copy.expect_consistent();
}

}  // namespace
}  // namespace understudy::capture_testing
