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

// A newcomer does not take the name of one that is protected, whatever their order.
TEST_F(agent_database_paths, what_is_protected_keeps_its_name) {
  make("a b.db");
  make("a_b.db");
  EXPECT_THAT(found({{"t-*", at("*.db"), {}, false}}, {at("a_b.db")}), ElementsAre("t-a_b a_b.db"));
  EXPECT_THAT(problems, ElementsAre(HasSubstr("a b.db is not protected")));
  make("elsewhere/a b.db");
  EXPECT_THAT(
      found({{"t-*", at("elsewhere/*.db"), {}, false}, {"t-*", at("*.db"), {}, false}}, {at("a_b.db")}),
      ElementsAre("t-a_b a_b.db"))
      << "also where another path finds the newcomer";
}

TEST_F(agent_database_paths, names_that_cannot_be_told_are_problems) {
  make("good.db");
  make("line\nbreak.db");
  make("not\xff\xfeutf8.db");
  make(std::string(80, 'x') + ".db");
  make("-f.db");
  make("...db");
  EXPECT_THAT(found({{"*", at("*.db"), {}, false}}), ElementsAre("good good.db"));
  EXPECT_THAT(problems, testing::UnorderedElementsAre(
                            HasSubstr("control"), HasSubstr("UTF-8"), HasSubstr("longer than 64"),
                            HasSubstr("begins with \"-\""), HasSubstr("begins with \".\"")));
}

TEST_F(agent_database_paths, there_is_a_limit_and_what_is_protected_stays_below_it) {
  for (int i = 0; i < 30; ++i) make("x" + std::to_string(i) + ".db");
  make("nothing.db", "no database");
  const std::vector<database_config> configured{{"t-*", at("*.db"), {}, false},
                                                {"main", at("x0.db"), {}, false}};
  found_databases all = find_databases(configured, {at("x9.db"), at("x8.db")}, 4);
  ASSERT_EQ(all.databases.size(), 5u) << "and the one that is named";
  EXPECT_EQ(all.databases[0].catalog, "main");
  EXPECT_EQ(all.databases[3].path, at("x8.db"));
  EXPECT_EQ(all.databases[4].path, at("x9.db"));
  EXPECT_THAT(all.problems, ElementsAre(HasSubstr("more than 4 databases")));
  EXPECT_THAT(find_databases(configured, {}, 29).problems, IsEmpty());
  for (int i = 0; i < 15; ++i) make("-" + std::to_string(i) + ".db");
  all = find_databases({{"*", at("-*.db"), {}, false}, {"*", at("*.db"), {}, false}}, {});
  EXPECT_THAT(all.problems, IsEmpty());
  all = find_databases({{"*", at("*.db"), {}, false}}, {});
  ASSERT_EQ(all.problems.size(), 10u);
  EXPECT_EQ(all.problems.back(), "6 more are not protected");
}

// A failback may bring one that is not there any more.
TEST_F(agent_database_paths, what_would_be_found_need_not_be_there) {
  const std::vector<database_config> configured{{"main", "/srv/main.db", {}, false},
                                                {"app-*", "/srv/*/db/*.sqlite", {"users"}, false}};
  const auto would = would_find(configured, "/srv/acme/db/2024.sqlite");
  ASSERT_TRUE(would);
  EXPECT_EQ(would->catalog, "app-acme-2024");
  EXPECT_EQ(would->configuration_tables, std::vector<std::string>{"users"});
  EXPECT_TRUE(would->found);
  for (const char* other : {"", "/", "/srv/main.db", "/srv/acme/db/.sqlite", "/srv/acme/db/x.db",
                            "/srv/acme/2024.sqlite", "/srv/acme/db/more/x.sqlite", "/srv/../db/x.sqlite",
                            "srv/acme/db/x.sqlite", "/srv/acme/db/x.understudy-incoming.sqlite"})
    EXPECT_FALSE(would_find(configured, other)) << other;
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
