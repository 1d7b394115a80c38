#include "agent-primary/files/planner.hpp"

#include <gtest/gtest.h>

#include "agent-primary/files/dirty_set.hpp"
#include "common/status/status_text.hpp"

namespace understudy::files {
namespace {

observation regular(const std::string& path) {
  observation o;
  o.what.path = path;
  o.what.size = 100;
  o.what.mode = 0640;
  o.what.modified_at = 1'000;
  o.device = 1;
  o.inode = 7;
  o.changed_at = 2'000;
  return o;
}

index_record sent(const observation& o) {
  index_record r = record_of(o);
  r.read_at = o.changed_at + 10'000'000'000;
  return r;
}

constexpr reason_to_look by_event{};
constexpr reason_to_look by_scan{.scan = true, .written_since_read = false};
constexpr reason_to_look by_write{.scan = false, .written_since_read = true};

TEST(planner, sends_what_is_not_there_and_nothing_that_is) {
  const observation o = regular("f");
  const index_record r = sent(o);
  EXPECT_EQ(decide(nullptr, o, by_event), step::put);
  EXPECT_EQ(decide(&r, o, by_event), step::nothing);
  EXPECT_EQ(decide(&r, o, by_scan), step::nothing);
}

TEST(planner, reads_again_where_metadata_prove_nothing) {
  const index_record r = sent(regular("f"));
  observation replaced = regular("f");
  replaced.inode = 8;
  EXPECT_EQ(decide(&r, replaced, by_event), step::verify);
  observation put_back = regular("f");
  put_back.changed_at = 3'000;
  EXPECT_EQ(decide(&r, put_back, by_scan), step::verify);
  EXPECT_EQ(decide(&r, put_back, by_event), step::refresh);
  EXPECT_EQ(decide(&r, regular("f"), by_write), step::verify);
  index_record racy = r;
  racy.read_at = racy.changed_at + 1'000;
  EXPECT_EQ(decide(&racy, regular("f"), by_scan), step::verify);
}

TEST(planner, sends_metadata_without_content) {
  const index_record r = sent(regular("f"));
  observation o = regular("f");
  o.what.mode = 0600;
  o.changed_at = 3'000;
  EXPECT_EQ(decide(&r, o, by_event), step::attributes);
  o.what.size = 101;
  EXPECT_EQ(decide(&r, o, by_event), step::put);
  o.what.kind = entry_kind::symlink;
  EXPECT_EQ(decide(&r, o, by_event), step::put);
}

class planned_renames : public ::testing::Test {
 protected:
  void SetUp() override {
    auto made =
        selection_matcher::make({.base = "/b",
                                 .include = {{.subdirectory = ".", .types = {"*.x"}, .recursive = true}},
                                 .exclude_databases = {}});
    ASSERT_TRUE(made.ok()) << message_of(made.status());
    matcher.emplace(*std::move(made));
    for (const char* path : {"a.x", "b.x"}) {
      observation o = regular(path);
      o.inode = path[0];
      index->put(path, sent(o));
    }
  }
  auto plan(const std::vector<std::pair<std::string, std::string>>& renames) {
    return plan_renames(
        *index, renames, *matcher, [&](const std::string& path) { return there[path]; }, 1);
  }
  std::unique_ptr<tree_index> index = make_memory_index();
  std::optional<selection_matcher> matcher;
  std::map<std::string, ino_t> there;
};

TEST_F(planned_renames, follow_a_swap_through_a_third_name) {
  there = {{"a.x", 'b'}, {"b.x", 'a'}};
  EXPECT_EQ(plan({{"a.x", "t.x"}, {"b.x", "a.x"}, {"t.x", "b.x"}}).size(), 3U);
  EXPECT_EQ(index->find("a.x")->inode, static_cast<ino_t>('b'));
  EXPECT_EQ(index->find("b.x")->inode, static_cast<ino_t>('a'));
  EXPECT_FALSE(index->find("t.x"));
}

TEST_F(planned_renames, leave_out_what_the_receiver_cannot_follow) {
  there = {{"c.x", 99}};
  EXPECT_TRUE(plan({{"unknown.x", "c.x"}}).empty());       // it never had it
  EXPECT_TRUE(plan({{"a.x", "no parent/c.x"}}).empty());   // nor a directory for it
  EXPECT_TRUE(plan({{"a.x", "c.not selected"}}).empty());  // that name does not travel
  EXPECT_TRUE(plan({{"a.x", "c.x"}}).empty());             // what is there now is another file
  EXPECT_TRUE(index->find("a.x"));
}

TEST(dirty_set, lets_renames_go_ahead_once) {
  dirty_set dirty;
  const std::uint64_t session = dirty.begin_session({});
  const auto later = std::chrono::steady_clock::now() + std::chrono::seconds{1};
  dirty.mark("other", true, false, std::chrono::milliseconds{0});
  dirty.mark_renamed("a", "b");
  dirty_work first = dirty.take(session, later);
  EXPECT_EQ(first.renames.size(), 1U);
  EXPECT_TRUE(first.paths.empty());
  EXPECT_FALSE(dirty.empty());
  // However many come: what was written is not put off for ever.
  dirty.mark_renamed("b", "c");
  const dirty_work second = dirty.take(session, later);
  EXPECT_EQ(second.renames.size(), 1U);
  EXPECT_TRUE(second.paths.contains("other"));
  EXPECT_TRUE(second.paths.contains("c"));
  EXPECT_TRUE(dirty.empty());
}

}  // namespace
}  // namespace understudy::files
