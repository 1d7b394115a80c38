// What is made of a difference when the tree has moved on since it was found.

#include "agent-primary/files/change_maker.hpp"

#include <gtest/gtest.h>

#include "tests/support/files_pair.hpp"

namespace understudy::test {
namespace {

namespace fs = std::filesystem;

// Between the comparison and the sending, which may be long.
TEST(file_change_maker, a_symlink_that_is_replaced_before_its_time_is_sent_is_sent_whole) {
  file_pair pair;
  fs::create_symlink("elsewhere", pair.at("link"));
  auto root = os::posix_file_system().open_root(pair.base());
  ASSERT_TRUE(root.ok());
  const auto matcher = files::selection_matcher::make(everything_in(pair.base()));
  ASSERT_TRUE(matcher.ok());
  files::tree_reader reader(**root, *matcher, true);
  const auto index = files::make_memory_index();
  files::dirty_set dirty;
  files::change_maker maker(**root, reader, *index, dirty, true);
  const auto seen = reader.observe("link");
  ASSERT_TRUE(seen.ok() && *seen);
  index->put("link", files::record_without_attributes(**seen));
  fs::remove(pair.at("link"));
  fs::create_symlink("here", pair.at("link"));
  v1::FileBatch batch;
  maker.make({.what = files::operation::kind::attributes, .path = "link", .other = {}}, batch);
  ASSERT_EQ(batch.changes_size(), 1);
  EXPECT_EQ(batch.changes(0).put().entry().symlink_target(), "here");
}

}  // namespace
}  // namespace understudy::test
