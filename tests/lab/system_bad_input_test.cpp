// What is wrong from outside is told, and the daemon runs on.

#include <signal.h>

#include "tests/lab/system_fixture.hpp"

namespace understudy::test {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

constexpr int exit_usage = 2;

class system_bad_input : public system_test {
 protected:
  void start_host() {
    site = std::make_unique<protected_system>();
    site->start_host();
  }
  void expect_host_runs() {
    EXPECT_TRUE(site->host_daemon().running());
    EXPECT_EQ(site->ctl({"server", "list"}).exit, 0);
  }
};

TEST_F(system_bad_input, a_port_or_directory_in_use) {
  start_host();
  site->failover().write_file("/etc/understudy/second.toml",
                              "data_dir = \"/var/lib/understudy/second\"\n[grpc]\nlisten = \"0.0.0.0:7200\"\n"
                              "[security]\ninsecure = true\n");
  const run_result port =
      site->failover().run({program("understudyd"), "--config", "/etc/understudy/second.toml"}, 20s);
  EXPECT_THAT(port.exit, AllOf(Not(0), Not(137)));
  EXPECT_THAT(port.output, HasSubstr("7200"));
  site->failover().write_file("/etc/understudy/third.toml",
                              "data_dir = \"/var/lib/understudy\"\n[grpc]\nlisten = \"0.0.0.0:7300\"\n"
                              "[security]\ninsecure = true\n");
  const run_result directory =
      site->failover().run({program("understudyd"), "--config", "/etc/understudy/third.toml"}, 20s);
  EXPECT_THAT(directory.exit, AllOf(Not(0), Not(137)));
  EXPECT_THAT(directory.output, HasSubstr("another understudyd"));
  expect_host_runs();
}

TEST_F(system_bad_input, an_agent_that_speaks_garbage) {
  start_host();
  process garbage = site->primary().spawn({"/usr/bin/python3", "-c",
                                           "import os, socket\n"
                                           "s = socket.create_server(('0.0.0.0', 7100))\n"
                                           "print('ready', flush=True)\n"
                                           "while True:\n"
                                           "  c, _ = s.accept()\n"
                                           "  try:\n"
                                           "    c.sendall(os.urandom(65536)); c.recv(4096); c.close()\n"
                                           "  except OSError: pass\n"});
  ASSERT_TRUE(garbage.wait_for_log("ready"));
  const ctl_result added =
      site->ctl({"server", "add", "primary", "--address", site->control_address(), "--replicate-now"});
  EXPECT_NE(added.exit, 0);
  EXPECT_THAT(added.error, HasSubstr("10.78.0.11:7100"));
  site->must({"server", "add", "primary", "--address", site->control_address(), "--no-replicate-now",
              "--no-auto-populate", "--set",
              R"(databases=[{"catalog":"counter","path":"/var/lib/counter/counter.db"}])"});
  EXPECT_NE(site->ctl({"server", "test", "primary"}).exit, 0);
  EXPECT_TRUE(site->wait_state(
      [](const v1::ServerState& now) { return !now.agent_connected() && now.warnings_size() > 0; }, 10s));
  expect_host_runs();
}

TEST_F(system_bad_input, names_and_addresses_that_lead_elsewhere) {
  start_host();
  for (const std::string name : {"../evil", "..", "a/b", ".hidden", "-x", ""}) {
    SCOPED_TRACE(name);
    EXPECT_EQ(site->ctl({"server", "add", "--address", site->control_address(), "--no-replicate-now",
                         "--no-auto-populate", "--", name})
                  .exit,
              exit_usage);
  }
  EXPECT_EQ(site->ctl({"server", "add", "p", "--address", "not an address", "--no-replicate-now",
                       "--no-auto-populate"})
                .exit,
            exit_usage);
  EXPECT_EQ(
      site->ctl({"server", "add", "p", "--address", site->control_address(), "--no-replicate-now",
                 "--no-auto-populate", "--set", R"(databases=[{"catalog":"x","path":"/var/../etc/passwd"}])"})
          .exit,
      exit_usage);
  EXPECT_FALSE(std::filesystem::exists(site->failover().root() / "var/lib/understudy/evil"));
  expect_host_runs();
}

TEST_F(system_bad_input, a_database_that_does_not_exist) {
  start_host();
  protected_application nothing = counter_application();
  site->primary().write_file("/etc/understudy/agent.toml",
                             "[server]\nname = \"primary\"\n[security]\ninsecure = true\n"
                             "[[database]]\ncatalog = \"missing\"\npath = \"/var/lib/counter/missing.db\"\n");
  site->start_agent();
  site->must({"server", "add", "primary", "--address", site->control_address(), "--no-replicate-now"});
  const ctl_result tested = site->ctl({"server", "test", "primary"});
  EXPECT_NE(tested.exit, 0);
  EXPECT_THAT(tested.output + tested.error, HasSubstr("/var/lib/counter/missing.db"));
  const ctl_result forced = site->ctl({"failover", "primary", "--force", "--reason", "a test", "--yes"});
  EXPECT_NE(forced.exit, 0);  // there is no copy
  EXPECT_THAT(forced.error, HasSubstr("copy"));
  expect_host_runs();
}

}  // namespace
}  // namespace understudy::test
