// The application's log grows no larger for being followed: not while the failover host is away, not while it
// takes nothing.

#include "tests/unit/capture_testing.hpp"

namespace understudy::capture_testing {
namespace {

constexpr std::uint64_t more = 4u << 20;  // bytes: as much again as SQLite's own automatic checkpoint allows
constexpr int commits = 8000;

std::uint64_t log_size(const std::string& path) {
  std::error_code gone;
  const auto size = std::filesystem::file_size(path + "-wal", gone);
  return gone ? 0 : size;
}

// Stage 1: it is there. Stage 2: it has committed without a pause.
std::function<void(shared_figures&)> writes_to(const std::string& path) {
  return [path](shared_figures& figures) {
    connection database(path);
    database.must(
        "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; CREATE TABLE t(id INTEGER PRIMARY KEY, a)");
    figures.pause(1);
    for (int i = 0; i < commits; ++i) {
      if (database.run("INSERT INTO t(a) VALUES(randomblob(700))") == SQLITE_OK) ++figures.commits;
    }
    figures.pause(2);
  };
}

class capture_log_size : public ::testing::TestWithParam<bool> {};

TEST_P(capture_log_size, is_that_of_an_application_alone) {
  const temporary_directory directory;
  const std::string alone = directory.file("alone.db");
  const std::string followed = directory.file("followed.db");
  application control(writes_to(alone));
  application app(writes_to(followed));
  ASSERT_TRUE(control.reached(1));
  ASSERT_TRUE(app.reached(1));
  control.proceed(1);
  ASSERT_TRUE(control.reached(2));
  const std::uint64_t usual = log_size(alone);
  ASSERT_GT(usual, 2u << 20) << "it must have been checkpointed for this test to mean anything";

  auto engine = capture::capture_engine::start({.queue_limit_bytes = 1 << 20});
  ASSERT_TRUE(engine.ok());
  const auto source = (*engine)->add(followed);
  ASSERT_TRUE(eventually([&] { return source->state().now == channel::source_state::phase::ready; }));
  // A host that is connected and takes nothing, or one that is away.
  auto subscription = GetParam() ? source->subscribe() : absl::UnavailableError("away");
  ASSERT_EQ(subscription.ok(), GetParam());
  app.proceed(1);
  ASSERT_TRUE(app.reached(2));
  EXPECT_EQ(app.figures().commits, std::uint64_t{commits}) << "nothing was busy";
  EXPECT_LE(log_size(followed), usual + more);
  std::printf("-wal %.1f MiB, alone %.1f MiB\n", static_cast<double>(log_size(followed)) / (1 << 20),
              static_cast<double>(usual) / (1 << 20));
}

INSTANTIATE_TEST_SUITE_P(host, capture_log_size, ::testing::Bool(),
                         [](const auto& one) { return one.param ? "takes_nothing" : "is_away"; });

}  // namespace
}  // namespace understudy::capture_testing
