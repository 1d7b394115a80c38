#include "common/status/errno_status.hpp"

#include <gtest/gtest.h>

#include <cerrno>

#include "common/status/status_macros.hpp"

namespace understudy {
namespace {

absl::Status passed_on(const absl::Status& status) {
  UNDERSTUDY_RETURN_IF_ERROR(status);
  return absl::OkStatus();
}

TEST(errno_status, knows_a_full_disk_from_whatever_else_has_run_out) {
  EXPECT_TRUE(is_out_of_space(passed_on(errno_status(ENOSPC, "write", "/a"))));
  EXPECT_TRUE(is_out_of_space(errno_status(EDQUOT, "write", "/a")));
  EXPECT_FALSE(is_out_of_space(errno_status(EMFILE, "open", "/a")));
  EXPECT_FALSE(is_out_of_space(errno_status(EIO, "write", "/a")));
  EXPECT_FALSE(is_out_of_space(absl::ResourceExhaustedError("Received message larger than max (5 vs. 4)")));
  EXPECT_FALSE(is_out_of_space(absl::OkStatus()));
}

}  // namespace
}  // namespace understudy
