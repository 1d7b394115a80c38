// The receiver under power cuts and under a hostile sender.

#include <gtest/gtest.h>

#include <fstream>
#include <random>

#include "agent-failover/replica/tree/file_sink_session.hpp"
#include "agent-failover/replica/tree/file_tree_sink.hpp"
#include "common/files/digest.hpp"
#include "tests/support/faulty_file_system.hpp"
#include "tests/support/files_pair.hpp"

namespace understudy::test {
namespace {

namespace fs = std::filesystem;

files::tree_sink_options options_in(const std::string& directory) {
  return {.tree = directory + "/tree",
          .beside = directory,
          .name = "files-0",
          .what = everything_in("/base"),
          .trash = {}};
}

v1::FileChange put_of(const std::string& path, const std::string& content) {
  v1::FileChange change;
  v1::FilePut& put = *change.mutable_put();
  put.mutable_entry()->set_path(path);
  put.mutable_entry()->set_kind(v1::FILE_KIND_REGULAR);
  put.mutable_entry()->set_mode(0640);
  put.mutable_entry()->set_size(content.size());
  put.mutable_entry()->set_digest(files::to_bytes(files::digest_of(content)));
  put.set_content(content);
  return change;
}

std::string content_of(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

std::string version(int file, int round) {
  return std::string(600 + static_cast<std::size_t>(file) * 700, static_cast<char>('a' + round)) + "end";
}

// Three rounds over `files` files, each round one batch; returns the rounds acknowledged.
int replace_all(files::file_tree_sink& sink, int count) {
  int acknowledged = 0;
  for (int round = 0; round < 3; ++round) {
    std::vector<v1::FileChange> batch;
    for (int f = 0; f < count; ++f) batch.push_back(put_of("f" + std::to_string(f), version(f, round)));
    std::vector<v1::FileRefusal> refusals;
    if (!sink.apply(batch, refusals).ok() || !refusals.empty()) break;
    acknowledged = round + 1;
  }
  return acknowledged;
}

class file_power_cut : public ::testing::TestWithParam<int> {};

TEST_P(file_power_cut, leaves_every_file_old_or_new_and_never_behind_the_acknowledgement) {
  const int count = GetParam();
  for (std::uint64_t point = 1;; ++point) {
    const auto real = directory_in_memory();
    faulty_file_system faulty(real->path());
    auto sink = files::file_tree_sink::open(faulty, options_in(real->path()));
    ASSERT_TRUE(sink.ok()) << message_of(sink.status());
    faulty.cut_power_at(faulty.sync_points() + point);
    const int acknowledged = replace_all(**sink, count);
    if (!faulty.power_is_cut()) {
      EXPECT_EQ(acknowledged, 3);
      EXPECT_GT(point, 3U);
      break;
    }
    for (const unsynced policy : {unsynced::lost, unsynced::kept, unsynced::random, unsynced::torn}) {
      SCOPED_TRACE("sync point " + std::to_string(point) + ", policy " +
                   std::to_string(static_cast<int>(policy)));
      const auto found = directory_in_memory();
      ASSERT_TRUE(faulty.materialise(found->path(), policy, point).ok());
      for (int f = 0; f < count; ++f) {
        const std::string content = content_of(found->path() + "/tree/f" + std::to_string(f));
        bool known = content.empty() && acknowledged == 0;
        for (int round = std::max(0, acknowledged - 1); round < 3; ++round)
          known = known || content == version(f, round);
        EXPECT_TRUE(known) << "file " << f << " after " << acknowledged << " rounds: " << content.size()
                           << " bytes";
      }
      // A new start sweeps what was staged.
      auto again = files::file_tree_sink::open(os::posix_file_system(), options_in(found->path()));
      ASSERT_TRUE(again.ok()) << message_of(again.status());
      EXPECT_TRUE(fs::is_empty(found->path() + "/.understudy-staging/files-0"));
    }
  }
}
INSTANTIATE_TEST_SUITE_P(files, file_power_cut, ::testing::Values(1, 3, 12));

TEST(file_hostile_sender, cannot_leave_the_tree) {
  const auto directory = directory_in_memory();
  std::ofstream(directory->path() + "/outside") << "untouched";
  fs::create_directories(directory->path() + "/tree/d");
  fs::create_symlink("..", directory->path() + "/tree/up");
  fs::create_symlink("../outside", directory->path() + "/tree/out");
  auto opened = files::file_tree_sink::open(os::posix_file_system(), options_in(directory->path()));
  ASSERT_TRUE(opened.ok()) << message_of(opened.status());
  const std::vector<std::string> parts{"..",
                                       ".",
                                       "",
                                       "up",
                                       "out",
                                       "d",
                                       "outside",
                                       "tree",
                                       "x",
                                       std::string("\0n", 2),
                                       std::string(300, 'l'),
                                       "/",
                                       ".understudy-staging"};
  const int rounds = std::getenv("UNDERSTUDY_SOAK") != nullptr ? 1'000'000 : 6'000;
  std::mt19937 random(7);
  const auto pick = [&](std::size_t n) { return static_cast<std::size_t>(random() % n); };
  const auto any = [&] {
    std::string path = pick(8) == 0 ? "/" : "";
    for (std::size_t n = pick(4); n > 0; --n) path += parts[pick(parts.size())] + "/";
    return path + parts[pick(parts.size())];
  };
  std::uint64_t sequence = 0;
  files::file_sink_session session(**opened, [](v1::FilesSinkMessage&&) {});
  for (int i = 0; i < rounds; ++i) {
    v1::FilesSourceMessage message;
    v1::FileChange& change = *message.mutable_batch()->add_changes();
    switch (pick(8)) {
      case 0:
        change = put_of(any(), "hostile");
        if (pick(3) == 0) change.mutable_put()->mutable_entry()->set_size(random());
        if (pick(3) == 0) change.mutable_put()->set_upload(random());
        if (pick(5) == 0) change.mutable_put()->mutable_entry()->set_mode(random());
        if (pick(5) == 0) change.mutable_put()->mutable_entry()->set_digest("short");
        break;
      case 1:
        change.mutable_remove()->set_path(any());
        break;
      case 2:
        change.mutable_rename()->set_from(any());
        change.mutable_rename()->set_to(any());
        break;
      case 3:
        change.mutable_link()->set_existing(any());
        change.mutable_link()->set_path(any());
        break;
      case 4:
        change = put_of(any(), "hostile");
        change.mutable_append()->mutable_entry()->set_path(any());
        change.mutable_append()->set_offset(random());
        change.mutable_append()->set_content("hostile");
        break;
      case 5:
        change.mutable_attributes()->set_path(any());
        change.mutable_attributes()->set_kind(static_cast<v1::FileKind>(pick(5)));
        break;
      case 6:
        change.mutable_put()->mutable_entry()->set_path(any());
        change.mutable_put()->mutable_entry()->set_kind(static_cast<v1::FileKind>(pick(5)));
        change.mutable_put()->mutable_entry()->set_symlink_target(any());
        break;
      default:
        message.mutable_chunk()->set_upload(pick(20));
        message.mutable_chunk()->set_offset(random() * (pick(2) != 0 ? 1'000'000'000ULL : 1ULL));
        message.mutable_chunk()->set_content("hostile");
    }
    if (message.has_batch()) message.mutable_batch()->mutable_changes(0)->set_sequence(++sequence);
    (void)session.receive(std::move(message));
    if (i % 16 == 0) {
      ASSERT_TRUE(session.flush().ok());
    }
  }
  EXPECT_EQ(content_of(directory->path() + "/outside"), "untouched");
  std::vector<std::string> beside;
  for (const auto& found : fs::directory_iterator(directory->path()))
    beside.push_back(found.path().filename());
  std::sort(beside.begin(), beside.end());
  EXPECT_EQ(beside,
            (std::vector<std::string>{".understudy-staging", ".understudy-trash", "outside", "tree"}));
}

}  // namespace
}  // namespace understudy::test
