#include "common/files/selection.hpp"

#include <gtest/gtest.h>

#include "common/files/name_pattern.hpp"
#include "common/files/tree_path.hpp"
#include "common/status/status_text.hpp"

namespace understudy::files {
namespace {

using namespace std::string_literals;

TEST(name_pattern, matches_bytes) {
  EXPECT_TRUE(matches("*", "", false));
  EXPECT_TRUE(matches("*.*", "no dot", false));
  EXPECT_TRUE(matches("*.wav", "a.wav", false));
  EXPECT_FALSE(matches("*.wav", "a.WAV", false));
  EXPECT_TRUE(matches("*.wav", "a.WAV", true));
  EXPECT_TRUE(matches("msg????.*", "msg0001.txt", false));
  EXPECT_TRUE(matches("[a-c!]x", "!x", false));
  EXPECT_FALSE(matches("[!a-c]x", "bx", false));
  EXPECT_TRUE(matches("[unclosed", "[unclosed", false));
  EXPECT_TRUE(matches("\\*", "*", false));
  EXPECT_FALSE(matches("\\*", "x", false));
  EXPECT_TRUE(matches("*\xff", "\xfe\n\xff", false));
  EXPECT_FALSE(matches("a*a*a*a*a*a*a*a*b", std::string(250, 'a'), false));  // and in no time
}

TEST(selection, the_classic_profile_takes_what_the_guide_says) {
  const auto m = selection_matcher::make(
      {.base = "/var/lib/pbx/vm", .include = classic_profile(), .exclude_databases = {}});
  ASSERT_TRUE(m.ok()) << message_of(m.status());
  EXPECT_TRUE(m->includes_file("Extn/200/greeting.wav"));
  EXPECT_TRUE(m->includes_file("extn/200/greeting.VOX"));
  EXPECT_FALSE(m->includes_file("Extn/200/notes.txt"));
  EXPECT_TRUE(m->includes_file("Mail/any thing"));
  EXPECT_TRUE(m->includes_file("Upload/Extn/x"));
  EXPECT_FALSE(m->includes_file("Upload/x"));
  EXPECT_TRUE(m->includes_directory("Upload"));
  EXPECT_FALSE(m->includes_directory("Uploads"));
  EXPECT_FALSE(m->includes_file("top.wav"));
}

TEST(selection, not_recursive_means_one_level) {
  const auto m = selection_matcher::make(
      {.base = "/b", .include = {{.subdirectory = "d/", .types = {"*"}}}, .exclude_databases = {}});
  ASSERT_TRUE(m.ok());
  EXPECT_TRUE(m->includes_file("d/x"));
  EXPECT_FALSE(m->includes_file("d/e/x"));
  EXPECT_FALSE(m->includes_directory("d/e"));
}

TEST(selection, databases_and_their_companions_are_left_out) {
  const auto m =
      selection_matcher::make({.base = "/b/",
                               .include = {{.subdirectory = ".", .types = {"*"}, .recursive = true}},
                               .exclude_databases = {"/b/data/x.db", "/elsewhere/y.db"}});
  ASSERT_TRUE(m.ok());
  for (const char* suffix : {"", "-wal", "-shm", "-journal", "-heal", "-unfinished", ".understudy-incoming",
                             ".understudy-incoming-wal", ".understudy-incoming-partial"}) {
    EXPECT_FALSE(m->includes_file("data/x.db"s + suffix)) << suffix;
  }
  EXPECT_TRUE(m->includes_file("data/x.db2"));
  EXPECT_TRUE(m->has_database_below("data"));
  EXPECT_FALSE(m->has_database_below("dat"));
}

TEST(selection, what_the_path_of_a_database_with_wildcards_stands_for_is_left_out) {
  const std::vector<inclusion> all{{.subdirectory = ".", .types = {"*"}, .recursive = true}};
  const auto m = selection_matcher::make(
      {.base = "/srv/acme", .include = all, .exclude_databases = {"/srv/*/data/*.db", "/srv/acme/top-*"}});
  ASSERT_TRUE(m.ok());
  for (const char* suffix : {"", "-wal", "-shm", "-journal"}) {
    EXPECT_FALSE(m->includes_file("data/one.db"s + suffix));
    EXPECT_FALSE(m->includes_file("top-one"s + suffix));
  }
  for (const char* path : {"one.db", "data/.db", "data/one.dbx", "data/more/one.db", "other/one.db", "top-"})
    EXPECT_TRUE(m->includes_file(path)) << path;
  EXPECT_TRUE(m->has_database_below("data"));
  EXPECT_FALSE(m->has_database_below("other"));
  EXPECT_FALSE(m->has_database_below("data/more"));
  const auto elsewhere = selection_matcher::make(
      {.base = "/srv/acme/data/deep", .include = all, .exclude_databases = {"/srv/*/data/*.db"}});
  ASSERT_TRUE(elsewhere.ok());
  EXPECT_TRUE(elsewhere->includes_file("one.db"));
}

TEST(selection, refuses_what_makes_no_sense_and_says_where) {
  const auto reason = [](const selection& s) {
    return std::string(message_of(selection_matcher::make(s).status()));
  };
  const std::vector<inclusion> all{{.subdirectory = ".", .types = {"*"}, .recursive = true}};
  EXPECT_NE(reason({.base = "var", .include = all}).find("absolute"), std::string::npos);
  EXPECT_NE(reason({.base = "/var/../etc", .include = all}).find(".."), std::string::npos);
  EXPECT_NE(reason({.base = "/b", .include = {}}).find("nothing is included"), std::string::npos);
  EXPECT_NE(reason({.base = "/b", .include = {{.subdirectory = "../c", .types = {"*"}}}}).find("inclusion 1"),
            std::string::npos);
  EXPECT_NE(reason({.base = "/b", .include = {{.subdirectory = "/c", .types = {"*"}}}}).find("absolute"),
            std::string::npos);
  EXPECT_NE(reason({.base = "/b", .include = {{.subdirectory = "c", .types = {}}}}).find("at least one"),
            std::string::npos);
  EXPECT_NE(reason({.base = "/b", .include = {{.subdirectory = "c", .types = {"d/*"}}}}).find("d/*"),
            std::string::npos);
}

TEST(tree_path, checks_what_comes_from_outside) {
  for (const std::string& bad :
       {""s, "/a"s, "a/"s, "a//b"s, "."s, "a/./b"s, ".."s, "a/.."s, "a\0b"s, std::string(256, 'x')}) {
    EXPECT_FALSE(check_path(bad).ok()) << printable(bad);
  }
  for (const std::string& good : {"a"s, "..."s, "a/ b\n"s, "\xff"s, std::string(255, 'x')}) {
    EXPECT_TRUE(check_path(good).ok()) << printable(good);
  }
  EXPECT_TRUE(is_below("a/b", "a"));
  EXPECT_FALSE(is_below("ab", "a"));
}

}  // namespace
}  // namespace understudy::files
