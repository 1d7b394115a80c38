// How contents travel: what is sent again after a cut, what of a changed file, how fast, and packed how.

#include <gtest/gtest.h>

#include <cstring>
#include <random>

#include "common/files/content_coding.hpp"
#include "common/files/pace.hpp"
#include "tests/support/files_pair.hpp"
#include "tests/support/wait.hpp"

namespace understudy::test {
namespace {

namespace fs = std::filesystem;
using std::chrono::milliseconds;
using std::chrono::seconds;

std::string noise(std::size_t bytes, unsigned seed = 1) {
  std::mt19937_64 random(seed);
  std::string content(bytes, '\0');
  for (std::size_t i = 0; i + 8 <= bytes; i += 8) {
    const std::uint64_t word = random();
    std::memcpy(content.data() + i, &word, 8);
  }
  return content;
}

class file_transfer : public ::testing::Test {
 protected:
  std::vector<std::string> staged() const {
    std::vector<std::string> names;
    for (const auto& found : fs::directory_iterator(pair.directory_->path() + "/.understudy-staging/files-0"))
      names.push_back(found.path().filename());
    return names;
  }
  file_pair pair;
};

TEST_F(file_transfer, a_large_file_that_was_cut_goes_on_where_it_was) {
  constexpr std::size_t size = 64 << 20;
  pair.connect();
  pair.expect_same();
  pair.write("large", noise(size));
  for (const bool killed : {false, true}) {
    const std::size_t goal = pair.bytes_sent + size / 3;
    ASSERT_TRUE(wait_until(
        [&] {
          bool moved = false;
          EXPECT_TRUE(pair.step(moved).ok());
          return pair.bytes_sent > goal;
        },
        seconds{30}));
    EXPECT_FALSE(fs::exists(pair.copy() + "/large")) << "no partial file may be seen";
    if (killed) {
      // What a killed receiver leaves: nothing is written at the end.
      const std::string staging = pair.directory_->path() + "/.understudy-staging/files-0";
      fs::copy(staging, staging + ".kept");
      pair.disconnect();
      pair.sink.reset();
      fs::remove_all(staging);
      fs::rename(staging + ".kept", staging);
    }
    pair.connect();
  }
  ASSERT_NO_FATAL_FAILURE(pair.expect_same());
  EXPECT_LT(pair.bytes_sent, size + size / 4);
  EXPECT_TRUE(staged().empty()) << ::testing::PrintToString(staged());
}

TEST_F(file_transfer, a_cut_file_that_changed_meanwhile_is_sent_whole_and_leaves_nothing) {
  constexpr std::size_t size = 40 << 20;
  pair.connect();
  pair.expect_same();
  pair.write("large", noise(size, 1));
  const std::size_t goal = pair.bytes_sent + size / 2;
  ASSERT_TRUE(wait_until(
      [&] {
        bool moved = false;
        EXPECT_TRUE(pair.step(moved).ok());
        return pair.bytes_sent > goal;
      },
      seconds{30}));
  pair.disconnect();
  EXPECT_FALSE(staged().empty());
  pair.write("large", noise(size, 2));
  pair.connect();
  ASSERT_NO_FATAL_FAILURE(pair.expect_same());
  EXPECT_TRUE(staged().empty());
}

TEST_F(file_transfer, of_a_large_file_only_the_changed_blocks_travel) {
  constexpr std::size_t size = 24 << 20;
  pair.write("image", noise(size));
  pair.connect();
  pair.expect_same();
  pair.bytes_sent = 0;
  {
    std::fstream file(pair.at("image"), std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(10'000'000);
    file << "changed in the middle";
    file.seekp(size - 3);
    file << "and beyond its end";
  }
  pair.follow_until_same();
  EXPECT_LT(pair.bytes_sent, 600'000U);
  EXPECT_GT(pair.bytes_sent, 100'000U);
}

TEST_F(file_transfer, what_is_added_goes_ahead_and_what_is_in_front_is_proven_afterwards) {
  constexpr std::size_t size = 24 << 20;
  pair.write("image", noise(size));
  pair.connect();
  pair.expect_same();
  pair.bytes_sent = 0;
  pair.changes.clear();
  {
    std::fstream file(pair.at("image"), std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(10'000'000);
    file << "changed in the middle";
    file.seekp(0, std::ios::end);
    file << noise(100'000, 3);
  }
  ASSERT_TRUE(wait_until(
      [&] {
        bool moved = false;
        EXPECT_TRUE(pair.step(moved).ok());
        return fs::file_size(pair.copy() + "/image") == size + 100'000;
      },
      seconds{30}));
  EXPECT_EQ(pair.changes[v1::FileChange::kAppend], 1);
  EXPECT_EQ(pair.changes[v1::FileChange::kPut], 0) << "it is not read before what was added is sent";
  pair.follow_until_same();
  EXPECT_EQ(pair.changes[v1::FileChange::kPut], 1);
  EXPECT_LT(pair.bytes_sent, 1'000'000U);
}

TEST_F(file_transfer, a_large_file_that_grows_all_the_time_is_proven_all_the_same) {
  pair.write("image", noise(8 << 20));
  pair.connect();
  pair.expect_same();
  {
    std::fstream file(pair.at("image"), std::ios::in | std::ios::out | std::ios::binary);
    file << "changed in front";
  }
  const auto same_beginning = [&] {
    std::string begins(16, ' ');
    std::ifstream(pair.copy() + "/image", std::ios::binary).read(begins.data(), 16);
    return begins == "changed in front";
  };
  std::ofstream growing(pair.at("image"), std::ios::binary | std::ios::app);
  EXPECT_TRUE(wait_until(
      [&] {
        growing << "more of it" << std::flush;
        bool moved = false;
        EXPECT_TRUE(pair.step(moved).ok());
        return same_beginning();
      },
      seconds{30}));
  growing.close();
  pair.expect_same();
}

TEST_F(file_transfer, text_travels_packed_and_recordings_as_they_are) {
  std::string text;
  while (text.size() < 3'000'000)
    text += "A line of a log, as there are many: " + std::to_string(text.size()) + "\n";
  EXPECT_TRUE(files::packs_well(text));
  EXPECT_FALSE(files::packs_well(noise(100'000)));
  pair.write("large.log", text);
  pair.write("small.log", text.substr(0, 200'000));
  pair.connect();
  pair.expect_same();
  EXPECT_LT(pair.bytes_sent, text.size() / 2);
}

TEST(content_coding, refuses_what_does_not_announce_its_size) {
  const std::string text(10'000, 'x');
  const std::string frame = *files::pack(text);
  EXPECT_EQ(*files::unpack(frame, text.size()), text);
  EXPECT_FALSE(files::unpack(frame, text.size() + 1).ok());
  EXPECT_FALSE(files::unpack(frame.substr(0, frame.size() / 2), text.size()).ok());
  EXPECT_FALSE(files::unpack("no frame", text.size()).ok());
}

TEST(pace, keeps_the_mean_and_changes_at_once) {
  using namespace std::chrono_literals;
  files::pace::time now{1000s};
  files::pace pace;
  EXPECT_TRUE(pace.may_send(now));
  pace.set_limit(1'000'000, now);
  std::uint64_t sent = 0;
  for (const auto end = now + 10s; now < end; now += 1ms) {
    while (pace.may_send(now)) {
      pace.sent(pace.piece_bytes(), now);
      sent += pace.piece_bytes();
    }
  }
  EXPECT_NEAR(static_cast<double>(sent), 10'000'000, 350'000);
  EXPECT_EQ(pace.piece_bytes(), 100'000U);
  pace.set_limit(0, now);
  EXPECT_TRUE(pace.may_send(now));
}

TEST_F(file_transfer, a_limit_holds_and_is_lifted_while_it_runs) {
  pair.connect();
  pair.expect_same();
  pair.receiving->limit(200'000);
  bool moved = false;
  ASSERT_TRUE(pair.step(moved).ok());
  pair.bytes_sent = 0;
  pair.write("large", noise(4'000'000));
  const auto began = std::chrono::steady_clock::now();
  while (std::chrono::steady_clock::now() - began < seconds{1}) {
    ASSERT_TRUE(pair.step(moved).ok());
    std::this_thread::sleep_for(milliseconds{1});
  }
  EXPECT_LT(pair.bytes_sent, 500'000U);
  pair.receiving->limit(0);
  pair.follow_until_same();
}

}  // namespace
}  // namespace understudy::test
