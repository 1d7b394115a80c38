// The lab itself: what other tests rely on.

#include "tests/support/lab/lab.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "tests/support/wait.hpp"

namespace understudy::test {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;

lab_options two_hosts() {
  return {.hosts = {{.name = "one", .addresses = {"10.77.0.1/24", "fd77::1/64"}},
                    {.name = "two", .addresses = {"10.77.0.2/24", "fd77::2/64"}}},
          .gateway = {"10.77.0.254/24", "fd77::fe/64"}};
}

bool pings(host& from, const std::string& to) {
  return from.run({"ping", "-n", "-c", "1", "-W", "1", to}).exit == 0;
}

TEST(lab, hosts_reach_each_other_and_the_gateway) {
  lab net(two_hosts());
  EXPECT_TRUE(pings(net["one"], "10.77.0.2"));
  EXPECT_TRUE(pings(net["two"], "fd77::1"));
  EXPECT_THAT(net["one"].sh("ip route; ip -6 route").output,
              testing::AllOf(HasSubstr("default via 10.77.0.254"), HasSubstr("default via fd77::fe")));
  EXPECT_EQ(net["one"].sh("hostname; exit 3").exit, 3);
  EXPECT_EQ(net["one"].sh("hostname").output, "one\n");
}

TEST(lab, the_same_paths_are_different_directories_on_each_host) {
  lab net(two_hosts());
  net["one"].write_file("/etc/understudy/agent.toml", "first");
  net["two"].write_file("/etc/understudy/agent.toml", "second");
  EXPECT_EQ(net["one"].sh("cat /etc/understudy/agent.toml").output, "first");
  EXPECT_EQ(net["two"].sh("cat /etc/understudy/agent.toml; echo x > /var/lib/understudy/state").output,
            "second");
  EXPECT_EQ(net["two"].read_file("/var/lib/understudy/state"), "x\n");
  EXPECT_NE(net["one"].sh("cat /var/lib/understudy/state").exit, 0);
  EXPECT_EQ(net["one"].sh("cat /etc/passwd >/dev/null && ls /var/lib/dpkg >/dev/null").exit, 0);
  EXPECT_FALSE(std::filesystem::exists("/var/lib/understudy/state"));
}

TEST(lab, power_off_ends_everything_and_power_on_is_a_new_boot) {
  lab net(two_hosts());
  host& one = net["one"];
  process daemon = one.spawn({"/bin/sh", "-c", "(sleep 1000 & sleep 1001 & wait) & echo started; wait"});
  ASSERT_TRUE(daemon.wait_for_log("started"));
  ASSERT_TRUE(wait_until([&] { return one.processes().size() == 4; }, 10s)) << one.processes().size();
  one.sh("ip addr add 10.77.0.100/32 dev eth0; touch /run/leftover; touch /var/lib/understudy/kept");
  const std::string boot = one.boot_id();
  EXPECT_EQ(one.sh("cat /proc/sys/kernel/random/boot_id").output, boot + "\n");

  const auto children = one.processes();
  one.power_off();
  for (const pid_t pid : children) EXPECT_NE(::kill(pid, 0), 0) << pid;
  EXPECT_FALSE(daemon.running());
  EXPECT_EQ(daemon.wait(), 128 + SIGKILL);
  EXPECT_FALSE(pings(net["two"], "10.77.0.1"));

  one.power_on();
  EXPECT_NE(one.boot_id(), boot);
  EXPECT_EQ(one.sh("cat /proc/sys/kernel/random/boot_id").output, one.boot_id() + "\n");
  EXPECT_TRUE(wait_until([&] { return pings(net["two"], "10.77.0.1"); }, 5s));
  EXPECT_THAT(one.sh("ip addr").output, Not(HasSubstr("10.77.0.100")));
  EXPECT_NE(one.sh("test -e /run/leftover").exit, 0);
  EXPECT_EQ(one.sh("test -e /var/lib/understudy/kept").exit, 0);
}

TEST(lab, cut_takes_the_carrier_and_restore_gives_it_back) {
  lab net(two_hosts());
  net["one"].cut();
  EXPECT_EQ(net["one"].sh("cat /sys/class/net/eth0/carrier").output, "0\n");
  EXPECT_FALSE(pings(net["two"], "10.77.0.1"));
  net["one"].restore();
  EXPECT_TRUE(wait_until([&] { return pings(net["two"], "10.77.0.1"); }, 5s));
  EXPECT_TRUE(pings(net["one"], "fd77::2"));
}

TEST(lab, cut_between_leaves_others_alone) {
  if (!lab::can_cut_between()) GTEST_SKIP() << "needs real root";
  lab net(two_hosts());
  net.cut_between("one", "two");
  EXPECT_FALSE(pings(net["one"], "10.77.0.2"));
  EXPECT_FALSE(pings(net["two"], "fd77::1"));
  EXPECT_TRUE(pings(net["one"], "10.77.0.254"));
  EXPECT_TRUE(pings(net["two"], "10.77.0.254"));
  net.restore_between("one", "two");
  EXPECT_TRUE(wait_until([&] { return pings(net["one"], "10.77.0.2"); }, 5s));
}

TEST(lab, frozen_processes_stand_still) {
  lab net(two_hosts());
  host& one = net["one"];
  process ticking = one.spawn({"/bin/sh", "-c", "while :; do echo tick; sleep 0.01; done"});
  ASSERT_TRUE(ticking.wait_for_log("tick\ntick\n"));
  one.freeze();
  const auto before = ticking.log().size();
  EXPECT_FALSE(wait_until([&] { return ticking.log().size() != before; }, 200ms));
  one.thaw();
  EXPECT_TRUE(wait_until([&] { return ticking.log().size() > before; }, 5s));
  EXPECT_EQ(ticking.stop(), 128 + SIGTERM);
}

TEST(lab, a_program_that_is_not_there_is_reported) {
  lab net(two_hosts());
  EXPECT_THROW(net["one"].spawn({"/no/such/program"}), std::runtime_error);
  EXPECT_EQ(net["one"].run({"sleep", "100"}, 50ms).exit, 128 + SIGKILL);
}

// A run that was killed leaves names behind, and nothing that runs.
TEST(lab, the_next_lab_removes_what_a_killed_run_left) {
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  const pid_t other = ::fork();
  if (other == 0) {
    auto* net = new lab(two_hosts());
    auto* sleeper = new process((*net)["one"].spawn({"sleep", "1000"}));
    const std::string text = std::to_string(sleeper->pid()) + " " + net->directory().string();
    (void)!::write(ends[1], text.data(), text.size() + 1);
    ::pause();
  }
  char text[512] = "";
  ASSERT_GT(::read(ends[0], text, sizeof text), 0);
  const std::string said = text;
  const pid_t sleeper = std::stoi(said);
  const std::filesystem::path directory = said.substr(said.find(' ') + 1);
  ASSERT_TRUE(std::filesystem::exists(directory));
  ::kill(other, SIGKILL);
  ::waitpid(other, nullptr, 0);
  EXPECT_TRUE(wait_until(
      [&] {
        return ::kill(sleeper, 0) != 0 ||
               !std::filesystem::exists("/proc/" + std::to_string(sleeper) + "/exe");
      },
      5s));
  lab net(two_hosts());
  EXPECT_FALSE(std::filesystem::exists(directory));
  EXPECT_FALSE(std::filesystem::exists("/run/netns/" + directory.filename().string() + "-one"));
}

}  // namespace
}  // namespace understudy::test
