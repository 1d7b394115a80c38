#include "agent-failover/actors/application_versions.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace understudy::actors {
namespace {

using testing::HasSubstr;

v1::DescribeResponse primary_with(const std::string& version) {
  v1::DescribeResponse primary;
  auto& pbx = *primary.add_applications();
  pbx.set_name("pbx");
  pbx.add_version_command("pbx");
  pbx.set_version(version);
  return primary;
}

TEST(host_application_versions, equal_ones_are_not_worth_a_word) {
  const auto verdict = compare(primary_with("pbx 1.2"), {{"pbx", "pbx 1.2"}});
  EXPECT_FALSE(verdict.differ);
  EXPECT_TRUE(verdict.complete);
  EXPECT_EQ(verdict.text, "");
}

TEST(host_application_versions, a_difference_names_both) {
  const auto verdict = compare(primary_with("pbx 1.2"), {{"pbx", "pbx 1.3"}});
  EXPECT_TRUE(verdict.differ);
  EXPECT_THAT(verdict.text, HasSubstr("\"pbx 1.2\" on the primary"));
  EXPECT_THAT(verdict.text, HasSubstr("\"pbx 1.3\" here"));
}

TEST(host_application_versions, what_is_not_known_is_said_and_is_no_difference) {
  EXPECT_FALSE(compare(primary_with(""), {{"pbx", "pbx 1.3"}}).complete) << "the agent is still asking";
  const auto absent =
      compare(primary_with("pbx 1.2"), {{"pbx", absl::NotFoundError(std::string("no such file"))}});
  EXPECT_FALSE(absent.differ);
  EXPECT_THAT(absent.text, HasSubstr("no such file"));
  EXPECT_FALSE(compare(primary_with("pbx 1.2"), {{"other", "9"}}).differ);
}

}  // namespace
}  // namespace understudy::actors
