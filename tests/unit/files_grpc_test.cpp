// File streams over gRPC on loopback: replication, its planned end, and the way back.

#include <gtest/gtest.h>

#include "agent-primary/files/restore_stream.hpp"
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

TEST_F(files_grpc, the_way_back_sets_the_originals_aside) {
  pair.write("both", "old");
  pair.write("d/only on the primary", "p");
  stream = files::start_files_replication(channel, 0, sink, callbacks());
  ASSERT_TRUE(reach(files_progress::phase::streaming));
  ASSERT_TRUE(becomes_same());
  stream.reset();
  ended = false;
  ASSERT_TRUE(sink->forget().ok());
  // The stand-in works.
  std::ofstream(pair.copy() + "/both") << "new, by the stand-in";
  std::ofstream(pair.copy() + "/made by the stand-in") << "x";
  fs::remove_all(pair.copy() + "/d");
  const std::string aside = pair.directory_->path() + "/aside";
  service.restore.begin = [&](std::uint32_t, std::uint64_t) {
    files::tree_sink_options options = pair.sink_options;
    options.tree = pair.base();
    options.name = "restore-0";
    options.set_aside = aside;
    return files::file_tree_sink::open(os::posix_file_system(), options);
  };
  files::file_source_options options = pair.source_options;
  options.root = pair.copy();
  auto back = files::file_source::start(options);
  ASSERT_TRUE(back.ok());
  stream = files::start_files_restore(channel, 0, 2, *back, callbacks());
  ASSERT_TRUE(reach(files_progress::phase::streaming));
  stream->drain();
  ASSERT_TRUE(reach(files_progress::phase::drained));
  EXPECT_EQ(tree_differences(pair.copy(), pair.base()), std::vector<std::string>{});
  std::string original;
  std::getline(std::ifstream(aside + "/both"), original);
  EXPECT_EQ(original, "old");
  EXPECT_TRUE(fs::exists(aside + "/d/only on the primary"));
}

}  // namespace
}  // namespace understudy::test
