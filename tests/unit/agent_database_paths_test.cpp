// Which databases a path with wildcards stands for, and what they are called.

#include "agent-primary/service/database_paths.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "tests/support/temporary_directory.hpp"

namespace understudy::service {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

struct agent_database_paths : testing::Test {
  void make(const std::string& name, const std::string& content = "SQLite format 3 and so on") const {
    std::filesystem::create_directories(std::filesystem::path(at(name)).parent_path());
    std::ofstream(at(name)) << content;
  }
  std::string at(const std::string& name) const { return directory.path() + "/" + name; }
  std::vector<std::string> found(const std::vector<database_config>& configured,
                                 const std::set<std::string>& known = {}) {
    const found_databases all = find_databases(configured, known);
    problems = all.problems;
    std::vector<std::string> names;
    for (const auto& database : all.databases)
      names.push_back(database.catalog + " " + database.path.substr(directory.path().size() + 1));
    return names;
  }

  test::temporary_directory directory;
  std::vector<std::string> problems;
};

TEST_F(agent_database_paths, the_catalog_is_made_of_what_the_wildcards_stand_for) {
  make("one.db");
  make("a b.db");
  make("acme/2024/app.db");
  make("acme/2025/app.db");
  make("acme/2025/other.db");
  EXPECT_THAT(found({{"tenant-*", at("*.db"), {}, false}}),
              ElementsAre("tenant-a_b a b.db", "tenant-one one.db"));
  EXPECT_THAT(found({{"*", at("*/*/app.db"), {}, false}}),
              ElementsAre("acme-2024 acme/2024/app.db", "acme-2025 acme/2025/app.db"));
  EXPECT_THAT(problems, IsEmpty());
}

TEST_F(agent_database_paths, only_databases_count) {
  make("one.db");
  make("one.db-wal", "a log");
  make("two.db", "");
  make("three.db", "no database");
  make("one.db.understudy-incoming");
  std::filesystem::create_directories(at("four.db"));
  EXPECT_THAT(found({{"x-*", at("*"), {}, false}}), ElementsAre("x-one.db one.db"));
  EXPECT_THAT(found({{"x-*", at("*.db"), {}, false}}, {at("two.db")}),
              ElementsAre("x-one one.db", "x-two two.db"));
  EXPECT_THAT(found({{"x-*", at("nowhere/*.db"), {}, false}}), IsEmpty());
}

TEST_F(agent_database_paths, what_is_named_outright_keeps_its_name) {
  make("one.db");
  make("two.db");
  EXPECT_THAT(found({{"t-*", at("*.db"), {}, false}, {"main", at("one.db"), {}, false}}),
              ElementsAre("main one.db", "t-two two.db"));
}

TEST_F(agent_database_paths, two_files_of_one_catalog_are_a_problem) {
  make("a b.db");
  make("a_b.db");
  EXPECT_THAT(found({{"t-*", at("*.db"), {}, false}}), ElementsAre("t-a_b a b.db"));
  EXPECT_THAT(problems, ElementsAre(HasSubstr("a_b.db is not protected")));
}

TEST(agent_database_pattern, says_what_is_wrong) {
  EXPECT_EQ(wildcard_problem("/srv/*/app.db", "app-*"), "");
  EXPECT_EQ(wildcard_problem("/srv/app.db", "app"), "");
  EXPECT_THAT(wildcard_problem("/srv/*.db", "app"), HasSubstr("catalog must have one"));
  EXPECT_THAT(wildcard_problem("/srv/*.db", "*-*"), HasSubstr("catalog must have one"));
  EXPECT_THAT(wildcard_problem("/srv/app.db", "app-*"), HasSubstr("path with '*'"));
  EXPECT_THAT(wildcard_problem("/srv/*a*.db", "app-*"), HasSubstr("each part"));
}

}  // namespace
}  // namespace understudy::service
