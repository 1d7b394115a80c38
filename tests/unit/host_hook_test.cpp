#include "agent-failover/server/hook.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "common/status/status_text.hpp"
#include "tests/support/temporary_directory.hpp"
#include "tests/support/wait.hpp"

namespace understudy::server {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;
using testing::Not;

absl::Status shell(const std::string& script, std::chrono::milliseconds limit = 20s) {
  return run_hook({"/bin/sh", "-c", script}, {"UNDERSTUDY_SERVER=p1"}, "pre-hook", limit);
}

TEST(host_hook, agrees_with_exit_code_zero_and_knows_the_server) {
  EXPECT_TRUE(shell("test \"$UNDERSTUDY_SERVER\" = p1 && test -n \"$PATH\"").ok());
}

TEST(host_hook, vetoes_with_what_it_said_last) {
  const absl::Status vetoed = shell("echo first; echo 'not today' >&2; exit 3");
  EXPECT_TRUE(absl::IsAborted(vetoed));
  EXPECT_THAT(message_of(vetoed), HasSubstr("pre-hook exited with 3"));
  EXPECT_THAT(message_of(vetoed), HasSubstr("not today"));
}

TEST(host_hook, keeps_the_end_of_a_long_output) {
  const absl::Status vetoed = shell("i=0; while [ $i -lt 20000 ]; do echo line $i; i=$((i+1)); done; exit 1");
  EXPECT_THAT(message_of(vetoed), HasSubstr("line 19999"));
  EXPECT_THAT(message_of(vetoed), Not(HasSubstr("line 100\n")));
  EXPECT_LT(message_of(vetoed).size(), 700u);
}

TEST(host_hook, a_signal_is_a_veto) {
  EXPECT_THAT(message_of(shell("kill -9 $$")), HasSubstr("killed by signal 9"));
}

TEST(host_hook, a_missing_program_is_named) {
  const absl::Status missing = run_hook({"/no/such/program"}, {}, "pre-hook");
  EXPECT_TRUE(absl::IsNotFound(missing)) << missing;
  EXPECT_THAT(message_of(missing), HasSubstr("/no/such/program"));
}

TEST(host_hook, is_killed_with_its_children_at_its_limit) {
  const test::temporary_directory real;
  const std::string pid_file = real.path() + "/pid";
  const absl::Status late = shell("sleep 1000 & echo $! > " + pid_file + "; echo waiting; wait", 300ms);
  EXPECT_TRUE(absl::IsDeadlineExceeded(late)) << late;
  EXPECT_THAT(message_of(late), HasSubstr("within 0.3 s: waiting"));
  pid_t child = 0;
  std::ifstream(pid_file) >> child;
  ASSERT_GT(child, 1);
  EXPECT_TRUE(test::wait_until(
      [&] {
        std::ifstream stat("/proc/" + std::to_string(child) + "/stat");
        std::string word, state;
        return !(stat >> word >> word >> state) || state == "Z";
      },
      20s));
}

TEST(host_hook, one_that_closed_its_output_is_still_waited_for_and_still_limited) {
  EXPECT_TRUE(shell("exec >/dev/null 2>&1; sleep 0.1; exit 0").ok());
  EXPECT_TRUE(absl::IsAborted(shell("exec >/dev/null 2>&1; sleep 0.1; exit 1")));
  EXPECT_TRUE(absl::IsDeadlineExceeded(shell("exec >/dev/null 2>&1; sleep 1000", 300ms)));
}

TEST(host_hook, what_it_leaves_in_the_background_does_not_hold_the_takeover_up) {
  const test::temporary_directory real;
  const std::string pid_file = real.path() + "/pid";
  const auto begun = std::chrono::steady_clock::now();
  EXPECT_TRUE(shell("sleep 1000 & echo $! > " + pid_file).ok());
  EXPECT_LT(std::chrono::steady_clock::now() - begun, 10s);
  pid_t service = 0;
  std::ifstream(pid_file) >> service;
  ASSERT_GT(service, 1);
  EXPECT_EQ(::kill(service, SIGKILL), 0) << "it was left running";
}

TEST(host_hook, does_not_inherit_the_daemons_blocked_and_ignored_signals) {
  sigset_t blocked;
  sigset_t before;
  sigemptyset(&blocked);
  sigaddset(&blocked, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &blocked, &before);
  const auto pipe_before = ::signal(SIGPIPE, SIG_IGN);
  const absl::Status status =
      shell("grep -q 'SigBlk:.0*$' /proc/self/status && grep -q 'SigIgn:.*0000000$' /proc/self/status");
  ::signal(SIGPIPE, pipe_before);
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  EXPECT_TRUE(status.ok()) << status;  // 32 and 33 are the C library's own
}

}  // namespace
}  // namespace understudy::server
