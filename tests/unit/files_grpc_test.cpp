// File streams over gRPC on loopback: replication and its planned end.

#include <gtest/gtest.h>

#include "tests/support/files_agent.hpp"

namespace understudy::test {
namespace {

namespace fs = std::filesystem;

TEST_F(files_grpc, replicates_drains_and_stops) {
  for (int i = 0; i < 500; ++i)
    pair.write("d" + std::to_string(i % 9) + "/" + std::to_string(i), std::string(3000, 'x'));
  pair.write("large", std::string(5'000'000, 'y'));
  stream = files::start_files_replication(channel, 0, sink, callbacks());
  ASSERT_TRUE(reach(files_progress::phase::streaming));
  pair.write("while it streams", "z");
  EXPECT_TRUE(becomes_same());
  stream->drain();
  ASSERT_TRUE(reach(files_progress::phase::drained));
  stream->stop();
  ASSERT_TRUE(wait_until([&] { return ended.load(); }, std::chrono::seconds{10}));
  EXPECT_EQ(code, static_cast<int>(absl::StatusCode::kOk));
  EXPECT_EQ(tree_differences(pair.base(), pair.copy()), std::vector<std::string>{});
}

TEST_F(files_grpc, says_why_a_stream_cannot_be) {
  stream = files::start_files_replication(channel, 7, sink, callbacks());
  ASSERT_TRUE(wait_until([&] { return ended.load(); }, std::chrono::seconds{10}));
  EXPECT_EQ(code, static_cast<int>(absl::StatusCode::kNotFound));
}

TEST_F(files_grpc, a_held_stream_goes_on_watching) {
  stream = files::start_files_replication(channel, 0, sink, callbacks());
  ASSERT_TRUE(reach(files_progress::phase::streaming));
  stream->hold(true);
  ASSERT_TRUE(reach(files_progress::phase::held));
  pair.write("meanwhile", "m");
  stream->hold(false);
  EXPECT_TRUE(becomes_same());
}

}  // namespace
}  // namespace understudy::test
