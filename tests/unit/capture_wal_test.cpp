// A long-lived application in WAL mode, in a process of its own, while the capture follows it.

#include <random>

#include "tests/unit/capture_testing.hpp"

namespace understudy::capture_testing {
namespace {

TEST(CaptureWal, DeliversEveryCommitInOrder) {
  temporary_directory directory;
  const std::string path = directory.file("app.db");
  make_database(path);
  constexpr int commits = 500;
  application app([&](shared_figures& figures) {
    connection c(path);
    c.must("PRAGMA synchronous=NORMAL");
    c.must("INSERT INTO t(a) VALUES('first')");
    figures.pause(1);
    for (int i = 0; i < commits; ++i) {
      c.must("INSERT INTO t(a, b) VALUES(" + std::to_string(i) + ", randomblob(300))");
      ++figures.commits;
    }
  });
  auto engine = start_engine();
  ASSERT_TRUE(app.reached(1));
  mirror copy(engine->add(path));
  ASSERT_TRUE(copy.attach());
  app.proceed(1);
  copy.follow([&] { return app.finished(); });
  EXPECT_EQ(copy.gaps(), 0u) << copy.all_reasons();
  EXPECT_EQ(copy.transactions(), static_cast<std::uint64_t>(commits));
  copy.expect_equals(path);
  copy.expect_consistent();
}

}  // namespace
}  // namespace understudy::capture_testing
