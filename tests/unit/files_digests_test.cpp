// How a copy and its source find after a break where they differ.

#include <gtest/gtest.h>
#include <sys/stat.h>

#include "tests/support/files_pair.hpp"
#include "tests/support/wait.hpp"

namespace understudy::test {
namespace {

namespace fs = std::filesystem;

// The receiver is sure of what is older than a moment that is still to come.
void age(file_pair& pair) {
  const files::epoch_ns soon =
      std::chrono::duration_cast<std::chrono::nanoseconds>(
          (std::chrono::system_clock::now() + std::chrono::hours{1}).time_since_epoch())
          .count();
  ASSERT_TRUE(pair.sink->remember(soon, pair.sink->memory().root).ok());
}

class file_digests : public ::testing::Test {
 protected:
  file_pair pair;
};

TEST_F(file_digests, what_only_metadata_told_is_asked_about_when_it_is_written) {
  pair.write("rewritten", "AAAA");
  pair.write("untouched", "CCCC");
  pair.connect();
  pair.expect_same();
  pair.disconnect();
  age(pair);
  pair.source.reset();
  pair.connect();
  pair.expect_same();
  pair.changes.clear();
  std::ofstream(pair.at("rewritten"), std::ios::in | std::ios::out) << "BBBB";
  (void)::chmod(pair.at("rewritten").c_str(), 0600);
  pair.follow_until_same();
  EXPECT_EQ(pair.changes[v1::FileChange::kPut], 1);
}

// What was presumed of it is compared nowhere then, and moves with it.
TEST_F(file_digests, a_directory_that_is_renamed_while_it_is_compared_ends_equal) {
  pair.write("a/d/f", "x");
  pair.write("b/other", "x");
  pair.connect();
  pair.expect_same();
  for (int moment = 0; moment < 12; ++moment) {
    SCOPED_TRACE(moment);
    pair.disconnect();
    age(pair);
    const bool forth = moment % 2 == 0;
    pair.write((forth ? "a/d/" : "b/a/d/") + std::to_string(moment), "x");
    pair.connect();
    for (int steps = moment / 2; steps > 0; --steps) {
      bool moved = false;
      ASSERT_TRUE(pair.step(moved).ok());
    }
    fs::rename(pair.at(forth ? "a" : "b/a"), pair.at(forth ? "b/a" : "a"));
    pair.expect_same();
  }
}

TEST_F(file_digests, only_directories_that_differ_are_listed) {
  for (int i = 0; i < 2000; ++i)
    pair.write("d" + std::to_string(i % 20) + "/e" + std::to_string(i % 4) + "/" + std::to_string(i), "x");
  fs::create_hard_link(pair.at("d1/e1/1"), pair.at("d2/linked"));
  pair.connect();
  pair.expect_same();
  pair.disconnect();
  age(pair);
  for (const bool agent_restarted : {false, true}) {
    if (agent_restarted) pair.source.reset();
    pair.write("d3/e3/changed meanwhile", agent_restarted ? "x" : "yy");
    fs::remove(pair.at(agent_restarted ? "d4/e0/4" : "d5/e1/5"));
    pair.listed = 0;
    pair.connect();
    pair.expect_same();
    // The base, d3 and what is in it, d4 or d5 and what is in it: of 2,000 entries.
    EXPECT_GT(pair.listed, 0U);
    EXPECT_LT(pair.listed, 300U);
    pair.disconnect();
    age(pair);
  }
}

TEST_F(file_digests, differences_of_every_kind_are_found_by_digests) {
  pair.write("a/file", "content");
  pair.write("a/mode", "content");
  pair.write("a/gone", "content");
  pair.write("b/linked", "content");
  pair.write("c/becomes a file/file", "content");
  pair.write("c/becomes a directory", "content");
  fs::create_symlink("one", pair.at("a/symlink"));
  pair.connect();
  pair.expect_same();
  pair.disconnect();
  age(pair);
  pair.source.reset();
  (void)::chmod(pair.at("a/mode").c_str(), 0600);
  (void)::chmod(pair.at("b").c_str(), 0700);
  fs::remove(pair.at("a/gone"));
  fs::remove(pair.at("a/symlink"));
  fs::create_symlink("two", pair.at("a/symlink"));
  fs::remove(pair.at("b/linked"));
  fs::create_hard_link(pair.at("a/file"), pair.at("b/linked"));
  fs::remove_all(pair.at("c/becomes a file"));
  pair.write("c/becomes a file", "content");
  fs::remove(pair.at("c/becomes a directory"));
  pair.write("c/becomes a directory/in it", "content");
  pair.connect();
  pair.expect_same();
}

TEST_F(file_digests, a_sender_that_knows_nothing_of_digests_gets_a_listing) {
  pair.write("d/file", "content");
  pair.connect();
  pair.expect_same();
  files::file_sink_session old_sender(
      *pair.sink, [&](v1::FilesSinkMessage&& m) { pair.to_source.push_back(std::move(m)); });
  pair.to_source.clear();
  ASSERT_TRUE(old_sender.start().ok());
  v1::FilesSourceMessage heartbeat;
  heartbeat.mutable_heartbeat();
  ASSERT_TRUE(old_sender.receive(std::move(heartbeat)).ok());
  ASSERT_FALSE(pair.to_source.empty());
  EXPECT_TRUE(pair.to_source.back().listing().complete());
  EXPECT_EQ(pair.to_source.back().listing().entries_size(), 3);
  pair.to_source.clear();
}

}  // namespace
}  // namespace understudy::test
