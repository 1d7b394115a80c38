#include "common/config/toml_document.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/status/status_text.hpp"

namespace understudy::config {
namespace {

using std::chrono::milliseconds;
using testing::ElementsAre;
using testing::IsEmpty;

toml_document parsed(std::string_view content) {
  absl::StatusOr<toml_document> document = toml_document::parse(content, "agent.toml");
  EXPECT_TRUE(document.ok()) << message_of(document.status());
  return *std::move(document);
}

TEST(config_toml_document, names_the_nearest_key_for_an_unknown_one) {
  toml_document document = parsed("[server]\nname = \"a\"\n  lisen = \"0.0.0.0:7100\"\n");
  toml_table server = document.root().table("server");
  server.text("name");
  server.text("listen");
  EXPECT_THAT(document.problems(),
              ElementsAre("agent.toml:3:3: unknown key \"lisen\"; did you mean \"listen\"?"));
}

TEST(config_toml_document, lists_the_valid_keys_when_none_is_near) {
  toml_document document = parsed("zebra = 1\n");
  document.root().text("listen");
  document.root().text("name");
  EXPECT_THAT(document.problems(),
              ElementsAre("agent.toml:1:1: unknown key \"zebra\"; valid here: listen, name"));
}

TEST(config_toml_document, finds_unknown_tables_and_keys_inside_arrays_of_tables) {
  toml_document document = parsed("[[database]]\npath = \"/a\"\ncatalgo = \"x\"\n[[databse]]\n[host]\n");
  for (toml_table& table : document.root().tables("database")) {
    table.path("path");
    table.text("catalog");
  }
  document.root().table("host");
  EXPECT_THAT(document.problems(),
              ElementsAre("agent.toml:3:1: unknown key \"catalgo\"; did you mean \"catalog\"?",
                          "agent.toml:4:3: unknown key \"databse\"; did you mean \"database\"?"));
}

TEST(config_toml_document, tells_wrong_types_and_ranges_where_they_stand) {
  toml_document document = parsed(
      "port = \"7100\"\ninsecure = 1\nname = 5\ncount = 70000\nwait = 60\nwait2 = \"60\"\nwait3 = \"9h\"\n"
      "list = \"x\"\nlist2 = [\"a\", 2]\nmode = \"guardd\"\ntable = 3\ntables = {}\n");
  toml_table root = document.root();
  EXPECT_EQ(root.integer("port", 1), 1);
  EXPECT_FALSE(root.flag("insecure", false));
  EXPECT_EQ(root.text("name", "fallback"), "fallback");
  EXPECT_EQ(root.integer("count", 7, 1, 65535), 7);
  EXPECT_EQ(root.duration("wait", milliseconds{5}), milliseconds{5});
  EXPECT_EQ(root.duration("wait2", milliseconds{5}), milliseconds{5});
  EXPECT_EQ(root.duration("wait3", milliseconds{5}, milliseconds{0}, milliseconds{3600'000}),
            milliseconds{5});
  EXPECT_THAT(root.texts("list"), IsEmpty());
  EXPECT_THAT(root.texts("list2"), ElementsAre("a"));
  EXPECT_EQ(root.choice("mode", {"compat", "guarded", "strict"}), "compat");
  root.table("table").text("anything");
  EXPECT_THAT(root.tables("tables"), IsEmpty());
  EXPECT_THAT(
      document.problems(),
      ElementsAre(
          "agent.toml:1:8: \"port\" must be a whole number, not a string",
          "agent.toml:2:12: \"insecure\" must be true or false, not a number",
          "agent.toml:3:8: \"name\" must be a string, not a number",
          "agent.toml:4:9: \"count\" must be from 1 to 65535, not 70000",
          "agent.toml:5:8: \"wait\" must be a duration such as \"60s\", not a number",
          "agent.toml:6:9: \"wait2\" must be a duration such as \"250ms\", \"60s\", \"5m\" or \"4h\", not "
          "\"60\"",
          "agent.toml:7:9: \"wait3\" must be from 0s to 1h, not 9h",
          "agent.toml:8:8: \"list\" must be an array of strings, not a string",
          "agent.toml:9:15: \"list2\" must be an array of strings, not a number",
          "agent.toml:10:8: \"mode\" must be one of compat, guarded, strict, not \"guardd\"; did you mean "
          "\"guarded\"?",
          "agent.toml:11:9: \"table\" must be a table, not a number",
          "agent.toml:12:10: \"tables\" must be an array of tables, [[tables]], not a table"));
}

TEST(config_toml_document, wants_required_keys_and_absolute_paths) {
  toml_document document =
      parsed("[[database]]\npath = \"var/x.db\"\nother = \"/a/../b\"\nempty = \"\"\nfine = \"/a//b/./c/\"\n");
  toml_table database = document.root().tables("database").at(0);
  EXPECT_EQ(database.required_text("catalog"), "");
  EXPECT_EQ(database.path("path"), "");
  EXPECT_EQ(database.path("other"), "");
  EXPECT_EQ(database.required_text("empty"), "");
  EXPECT_EQ(database.path("fine"), "/a/b/c");
  EXPECT_THAT(document.problems(),
              ElementsAre("agent.toml:1:1: \"catalog\" is missing",
                          "agent.toml:2:8: \"path\" must be an absolute path, not \"var/x.db\"",
                          "agent.toml:3:9: \"other\" must not contain \"..\"",
                          "agent.toml:4:9: \"empty\" must not be empty"));
}

TEST(config_toml_document, tells_where_a_syntax_error_is) {
  const absl::Status status = toml_document::parse("a = 1\nb = = 2\n", "agent.toml").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(message_of(status)), testing::StartsWith("agent.toml:2:5: "));
}

TEST(config_toml_document, a_missing_file_names_itself) {
  const absl::Status status = toml_document::read("/nonexistent/agent.toml").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(message_of(status)), testing::HasSubstr("/nonexistent/agent.toml"));
  EXPECT_FALSE(toml_document::read("/").ok());
}

TEST(config_toml_document, durations_read_and_write) {
  EXPECT_EQ(parse_duration("250ms"), milliseconds{250});
  EXPECT_EQ(parse_duration("60s"), milliseconds{60'000});
  EXPECT_EQ(parse_duration("4h"), milliseconds{4 * 3600'000});
  EXPECT_EQ(parse_duration("2d"), milliseconds{2 * 24 * 3600'000});
  for (const char* wrong :
       {"", "s", "60", "-1s", "1.5s", "60 s", "60S", "99999999999999999999s", "9223372036854775807h"}) {
    EXPECT_EQ(parse_duration(wrong), std::nullopt) << wrong;
  }
  EXPECT_EQ(format_duration(milliseconds{90'000}), "90s");
  EXPECT_EQ(format_duration(milliseconds{120'000}), "2m");
  EXPECT_EQ(format_duration(milliseconds{250}), "250ms");
}

}  // namespace
}  // namespace understudy::config
