// Files at a failback: they arrive beside the primary's tree while the stand-in serves, and take their places
// at once.

#include <gmock/gmock.h>

#include <future>
#include <random>

#include "agent-primary/files/restore_stream.hpp"
#include "tests/support/files_agent.hpp"

namespace understudy::test {
namespace {

namespace fs = std::filesystem;
using files::files_progress;
using ::testing::ElementsAre;

std::string content_of(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

std::string noise(std::size_t bytes) {
  static std::mt19937 random;
  std::string content(bytes, '\0');
  for (char& c : content) c = static_cast<char>(random());
  return content;
}

class files_restore : public files_grpc {
 protected:
  void SetUp() override {
    files_grpc::SetUp();
    service.restore.begin = [this](std::uint32_t, std::uint64_t epoch, files::frozen_base base) {
      return files::incoming_tree::open(os::posix_file_system(), back_options(), epoch, std::move(base));
    };
  }
  files::tree_sink_options back_options() const {
    files::tree_sink_options options = pair.sink_options;
    options.tree = pair.base();
    options.name = "back-0";
    return options;
  }
  // The copy is in step, then the primary is lost.
  void take_over() {
    pair.write("one", "entry at least");
    stream = files::start_files_replication(channel, 0, sink, callbacks());
    ASSERT_TRUE(reach(files_progress::phase::streaming));
    ASSERT_TRUE(becomes_same());
    // Whatever the copy has was told to be in step, as when nothing was written for a while.
    ASSERT_TRUE(wait_until(
        [&] {
          return stream->progress().current_at > std::chrono::system_clock::now() - std::chrono::seconds{6} &&
                 stream->progress().entries > 0;
        },
        std::chrono::seconds{10}));
    stream.reset();
    ended = false;
    ASSERT_TRUE(sink->forget().ok());
  }
  void start_way_back() {
    stream.reset();  // and with it what it may still say
    ended = false;
    files::file_source_options options = pair.source_options;
    options.root = pair.copy();
    if (back == nullptr) {
      auto started = files::file_source::start(options);
      ASSERT_TRUE(started.ok());
      back = *started;
    }
    const files::frozen_base base =
        files::load_base(os::posix_file_system(), pair.sink_options.beside, pair.sink_options.name);
    ASSERT_NE(base.in_step_until, 0);
    auto started = files::start_files_restore(channel, 0, 2, files::to_message(base), back, callbacks());
    way_back = started.get();
    stream = std::move(started);
  }
  bool judged(files_progress::verdict verdict) {
    return wait_until([&] { return ended || stream->progress().judged == verdict; },
                      std::chrono::seconds{30}) &&
           !ended;
  }
  absl::StatusOr<v1::RestoreFilesResponse> adopt(bool discard_primary) {
    auto promised = std::make_shared<std::promise<absl::StatusOr<v1::RestoreFilesResponse>>>();
    way_back->adopt(discard_primary, [promised](const absl::StatusOr<v1::RestoreFilesResponse>& a) {
      promised->set_value(a);
    });
    return promised->get_future().get();
  }
  void expect_back(bool discard_primary = false) {
    start_way_back();
    ASSERT_TRUE(judged(files_progress::verdict::so_far)) << code;
    stream->drain();
    ASSERT_TRUE(judged(files_progress::verdict::final));
    const auto adopted = adopt(discard_primary);
    ASSERT_TRUE(adopted.ok()) << message_of(adopted.status());
    answer = *adopted;
    EXPECT_EQ(tree_differences(pair.copy(), pair.base()), std::vector<std::string>{});
  }
  std::vector<std::string> diverged() const {
    const auto& paths = answer.adopted().divergence().paths();
    return {paths.begin(), paths.end()};
  }

  std::shared_ptr<files::file_source> back;
  files::restore_files_stream* way_back = nullptr;
  v1::RestoreFilesResponse answer;
};

TEST_F(files_restore, touches_nothing_before_it_is_adopted_and_everything_then) {
  pair.write("both", "old");
  pair.write("d/removed by the stand-in", "r");
  pair.write("d/renamed by the stand-in", std::string(300'000, 'n'));
  pair.write("log", "start\n");
  pair.write("linked", "l");
  fs::create_hard_link(pair.at("linked"), pair.at("linked too"));
  pair.write("file to directory", "f");
  pair.write("directory to file/inside", "i");
  fs::create_symlink("both", pair.at("symlink"));
  take_over();
  std::ofstream(pair.copy() + "/both") << "new, by the stand-in";
  std::ofstream(pair.copy() + "/made/by the stand-in") << std::flush;
  fs::remove(pair.copy() + "/d/removed by the stand-in");
  fs::rename(pair.copy() + "/d", pair.copy() + "/renamed");
  std::ofstream(pair.copy() + "/log", std::ios::app) << "more\n";
  fs::remove(pair.copy() + "/linked");
  fs::create_hard_link(pair.copy() + "/both", pair.copy() + "/linked");
  fs::remove(pair.copy() + "/file to directory");
  fs::create_directories(pair.copy() + "/file to directory/deep");
  fs::remove_all(pair.copy() + "/directory to file");
  std::ofstream(pair.copy() + "/directory to file") << "now a file";
  fs::remove(pair.copy() + "/symlink");
  fs::create_symlink("elsewhere", pair.copy() + "/symlink");
  ::chmod((pair.copy() + "/log").c_str(), 0600);
  fs::create_directories(pair.directory_->path() + "/as it was");
  fs::copy(pair.base(), pair.directory_->path() + "/as it was",
           fs::copy_options::recursive | fs::copy_options::copy_symlinks);
  start_way_back();
  ASSERT_TRUE(judged(files_progress::verdict::so_far));
  EXPECT_EQ(stream->progress().diverged, 0U) << ::testing::PrintToString(stream->progress().diverged_paths);
  // The stand-in goes on meanwhile.
  std::ofstream(pair.copy() + "/log", std::ios::app) << "while it is healed\n";
  std::ofstream(pair.copy() + "/late") << "l";
  fs::rename(pair.copy() + "/renamed", pair.copy() + "/renamed again");
  stream->drain();
  ASSERT_TRUE(judged(files_progress::verdict::final));
  EXPECT_EQ(content_of(pair.at("both")), "old");
  EXPECT_EQ(content_of(pair.at("log")), "start\n");
  EXPECT_FALSE(fs::exists(pair.at("late")));
  EXPECT_TRUE(fs::exists(pair.at("d/removed by the stand-in")));
  const auto adopted = adopt(false);
  ASSERT_TRUE(adopted.ok()) << message_of(adopted.status());
  EXPECT_EQ(adopted->set_aside(), "");
  EXPECT_EQ(tree_differences(pair.copy(), pair.base()), std::vector<std::string>{});
}

TEST_F(files_restore, what_changed_on_both_sides_needs_a_choice_and_is_kept) {
  for (const char* name : {"both", "only here", "only there", "same on both", "removed there"})
    pair.write(name, "old");
  take_over();
  for (const char* name : {"both", "only here", "same on both", "removed there"}) pair.write(name, "mine!");
  pair.write("made here", "mine!");
  for (const char* name : {"both", "only there"}) std::ofstream(pair.copy() + "/" + name) << "stand-in";
  std::ofstream(pair.copy() + "/same on both") << "mine!";
  fs::remove(pair.copy() + "/removed there");
  start_way_back();
  ASSERT_TRUE(judged(files_progress::verdict::so_far));
  EXPECT_EQ(stream->progress().diverged, 4U);
  stream->drain();
  ASSERT_TRUE(judged(files_progress::verdict::final));
  const auto undecided = adopt(false);
  EXPECT_EQ(undecided.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(content_of(pair.at("both")), "mine!") << "nothing may change without a choice";
  EXPECT_FALSE(fs::exists(pair.directory_->path() + "/.understudy-set-aside"));

  ASSERT_NO_FATAL_FAILURE(expect_back(true));
  EXPECT_THAT(diverged(), ElementsAre("both", "made here", "only here", "removed there"));
  for (const std::string& name : diverged())
    EXPECT_EQ(content_of(answer.set_aside() + "/" + name), "mine!") << name;
  // Its answer was lost: asked again, it is the same.
  const v1::RestoreFilesResponse first = answer;
  ASSERT_NO_FATAL_FAILURE(expect_back());
  EXPECT_EQ(answer.set_aside(), first.set_aside());
  EXPECT_THAT(diverged(), ElementsAre("both", "made here", "only here", "removed there"));
}

// A file that the copy got a moment before the takeover was not changed on the primary alone.
TEST_F(files_restore, what_was_copied_last_is_no_divergence) {
  take_over();
  stream = files::start_files_replication(channel, 0, sink, callbacks());
  ended = false;
  ASSERT_TRUE(reach(files_progress::phase::streaming));
  pair.write("last", "of the primary");
  ASSERT_TRUE(becomes_same());
  stream.reset();
  ASSERT_TRUE(sink->forget().ok());
  std::ofstream(pair.copy() + "/last") << "overwritten by the stand-in";
  ASSERT_NO_FATAL_FAILURE(expect_back());
  EXPECT_THAT(diverged(), ElementsAre());
}

TEST_F(files_restore, a_cut_stream_goes_on_where_it_was) {
  take_over();
  for (int i = 0; i < 50; ++i)
    std::ofstream(pair.copy() + "/f" + std::to_string(i), std::ios::binary) << noise(100'000);
  start_way_back();
  ASSERT_TRUE(judged(files_progress::verdict::so_far));
  EXPECT_GT(stream->progress().bytes_done, 4'900'000U);
  stream.reset();
  back.reset();  // and nothing is remembered on this side
  start_way_back();
  ASSERT_TRUE(judged(files_progress::verdict::so_far));
  EXPECT_LT(stream->progress().bytes_done, 50'000U);
  stream.reset();
  ASSERT_NO_FATAL_FAILURE(expect_back());
  EXPECT_FALSE(fs::exists(pair.directory_->path() + "/.understudy-staging/back-0/incoming/log"));
}

}  // namespace
}  // namespace understudy::test
