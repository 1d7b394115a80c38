#include "agent-failover/server/made_databases.hpp"

#include <fmt/core.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "agent-failover/server/copy_layout.hpp"
#include "common/os/file_system.hpp"
#include "tests/support/temporary_directory.hpp"

namespace understudy::server {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

class host_made_databases : public testing::Test {
 protected:
  host_made_databases() {
    spec.set_name("p1");
    auto& has = *spec.add_databases();
    has.set_catalog("t-had");
    has.set_path("/srv/had.db");
    has.set_found(true);
    add("/srv/*.db", "t-*");
    make("/srv/had.db");
  }

  copy_layout layout() const { return copy_layout(place.path(), spec); }
  void add(const std::string& path, const std::string& catalog) {
    auto& pattern = *patterns.Add();
    pattern.set_path(path);
    pattern.set_catalog(catalog);
  }
  void make(const std::string& path, const std::string& head = "SQLite format 3") {
    const std::filesystem::path file = layout().place_of(path);
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file) << head;
  }
  std::vector<std::string> brought() const {
    std::vector<std::string> all;
    for (const auto& one : find_made(layout(), spec, patterns).bring)
      all.push_back(one.catalog() + " " + one.path());
    return all;
  }
  std::vector<std::string> left() const { return find_made(layout(), spec, patterns).left; }

  test::temporary_directory place;
  v1::ServerSpec spec;
  google::protobuf::RepeatedPtrField<v1::DatabasePattern> patterns;
};

TEST_F(host_made_databases, are_those_that_match_and_are_not_known) {
  make("/srv/new.db");
  make("/srv/new.db-wal");
  make("/srv/new.txt", "no database");
  make("/srv/new.db.understudy-incoming");
  add("/srv/*", "all-*");  // what the first one has is not its
  EXPECT_THAT(brought(), ElementsAre("t-new /srv/new.db"));
  EXPECT_THAT(left(), ElementsAre(HasSubstr("new.txt (nothing was committed")));
}

TEST_F(host_made_databases, are_newer_than_the_takeover) {
  make("/srv/old.db");
  make("/srv/revived.db");
  ASSERT_TRUE(mark_takeover(os::posix_file_system(), layout()).ok());
  // Dated by the filesystem, whose clock may stand for a moment.
  while (!brought().empty()) ASSERT_TRUE(mark_takeover(os::posix_file_system(), layout()).ok());
  make("/srv/revived.db-wal");  // written, but not folded
  make("/srv/new.db");
  EXPECT_THAT(brought(), ElementsAre("t-new /srv/new.db", "t-revived /srv/revived.db"));
  EXPECT_THAT(left(), IsEmpty());
}

TEST_F(host_made_databases, are_not_reached_through_symlinks) {
  make("/elsewhere/new.db");
  add("/srv/*/new.db", "n-*");
  std::filesystem::create_directory_symlink("../elsewhere", layout().place_of("/srv/way"));
  std::filesystem::create_symlink("../elsewhere/new.db", layout().place_of("/srv/way.db"));
  EXPECT_THAT(brought(), IsEmpty());
  EXPECT_THAT(left(),
              ElementsAre(HasSubstr("/srv/way.db (a symlink"), HasSubstr("/srv/way/new.db (a symlink")));
}

TEST_F(host_made_databases, stay_where_they_cannot_be_protected) {
  make("/srv/h d.db");
  make("/srv/h_d.db");
  make("/srv/ignored.db");
  make("/srv/empty.db", "");
  spec.add_ignore_found_databases("t-ign*");
  EXPECT_THAT(brought(), ElementsAre("t-h_d /srv/h d.db"));
  EXPECT_THAT(left(), ElementsAre(HasSubstr("empty.db (nothing"), HasSubstr("h_d.db (another"),
                                  HasSubstr("ignored.db (ignore_found_databases")));
}

TEST_F(host_made_databases, are_bounded_in_number) {
  for (int i = 0; i < 1010; ++i) make(fmt::format("/srv/{}.db", i));
  EXPECT_EQ(brought().size(), 999U);  // and the one that is known
  EXPECT_EQ(left().size(), 10U);
  EXPECT_EQ(left().back(), "2 more");
}

}  // namespace
}  // namespace understudy::server
