#include "agent-primary/application/application_set.hpp"

#include <gmock/gmock.h>
#include <grp.h>
#include <gtest/gtest.h>
#include <pwd.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "agent-primary/application/process_identity.hpp"
#include "common/status/status_text.hpp"
#include "tests/support/wait.hpp"

namespace understudy::application {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;
using testing::StartsWith;

constexpr auto enough = 20s;  // a deadline, never a pause

std::string content_of(const std::string& path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

bool alive(pid_t pid) {
  return pid > 0 && ::kill(pid, 0) == 0 && identify(pid).has_value();
}

struct application_set_test : testing::Test {
  std::string directory = [] {
    std::string name = testing::TempDir() + "application_XXXXXX";
    return std::string(::mkdtemp(name.data()));
  }();
  std::unique_ptr<application_set> set;

  ~application_set_test() override {
    if (set) {
      EXPECT_TRUE(set->wait_stop_all(100ms, enough).ok());
    }
    set.reset();
    std::filesystem::remove_all(directory);
  }

  static application_definition command(const std::string& name, const std::string& script) {
    application_definition result;
    result.name = name;
    result.start = {"/bin/sh", "-c", script};
    result.first_restart = 20ms;
    result.longest_restart = 80ms;
    result.check_interval = 20ms;
    return result;
  }
  void open(std::vector<application_definition> definitions) {
    set_options options;
    options.state_directory = directory + "/state";
    options.subject = "test";
    options.systemctl = directory + "/systemctl";
    options.runtime_units = directory + "/units";
    absl::StatusOr<std::unique_ptr<application_set>> opened =
        application_set::open(std::move(definitions), options);
    ASSERT_TRUE(opened.ok()) << message_of(opened.status());
    set = *std::move(opened);
  }
  application_status status(std::size_t index = 0) const { return set->status().at(index); }
  std::string in(const std::string& name) const { return directory + "/" + name; }
};

TEST_F(application_set_test, starts_in_order_and_stops_in_reverse) {
  std::vector<application_definition> definitions;
  for (const char* name : {"one", "two", "three"}) {
    definitions.push_back(command(name, "trap 'echo -" + std::string(name) + " >> " + in("order") +
                                            "; exit 0' TERM; echo +" + name + " >> " + in("order") +
                                            "; touch " + in(name) + "; while :; do sleep 0.01; done"));
    definitions.back().check = {"/usr/bin/test", "-e", in(name)};
  }
  open(definitions);
  ASSERT_TRUE(set->wait_start_all(enough).ok());
  for (const application_status& s : set->status()) EXPECT_EQ(s.state, application_state::running) << s.name;
  EXPECT_FALSE(set->all_down());
  ASSERT_TRUE(set->wait_stop_all(0ms, enough).ok());
  EXPECT_EQ(content_of(in("order")), "+one\n+two\n+three\n-three\n-two\n-one\n");
  EXPECT_TRUE(set->all_down());
}

TEST_F(application_set_test, restarts_after_an_unexpected_end_with_growing_pauses) {
  open({command("flaky", "echo x >> " + in("starts") + "; [ $(wc -l < " + in("starts") +
                             ") -ge 4 ] || exit 3; exec sleep 1000")});
  set->start_all([](const absl::Status&) {});
  ASSERT_TRUE(test::wait_until(
      [&] { return status().state == application_state::running && status().restarts == 3; }, enough));
}

TEST_F(application_set_test, says_how_it_ended) {
  application_definition broken = command("broken", "exit 7");
  broken.first_restart = 60s;
  application_definition missing = command("missing", "");
  missing.start = {"/nonexistent/program"};
  missing.first_restart = 60s;
  open({broken, missing});
  ASSERT_TRUE(set->wait_control("broken", command::start, enough).ok());
  ASSERT_TRUE(test::wait_until([&] { return status(0).state == application_state::failed; }, enough));
  EXPECT_THAT(status(0).last_event, StartsWith("exited with status 7"));
  const absl::Status failed = set->wait_control("missing", command::start, enough);
  EXPECT_THAT(std::string(message_of(failed)),
              HasSubstr("execute /nonexistent/program: No such file or directory"));
  EXPECT_EQ(set->wait_control("nobody", command::start, enough).code(), absl::StatusCode::kNotFound);
}

TEST_F(application_set_test, kills_a_stubborn_one_and_all_it_started) {
  open(
      {command("stubborn", "trap '' TERM; (trap '' TERM; echo $$ > /dev/null; exec sleep 1000) & echo $! > " +
                               in("child") + "; touch " + in("up") + "; while :; do sleep 0.01; done")});
  ASSERT_TRUE(set->wait_start_all(enough).ok());
  ASSERT_TRUE(test::wait_until([&] { return std::filesystem::exists(in("up")); }, enough));
  const pid_t pid = status().pid;
  const pid_t child = std::stoi(content_of(in("child")));
  ASSERT_TRUE(alive(pid) && alive(child));
  ASSERT_TRUE(set->wait_stop_all(50ms, enough).ok());
  EXPECT_EQ(status().last_event, "stopped: killed after its grace");
  EXPECT_FALSE(alive(pid));
  EXPECT_TRUE(test::wait_until([&] { return !alive(child); }, enough));
}

// As fossil's backoffice: it would keep the database open after the server has ended.
TEST_F(application_set_test, kills_a_helper_in_a_session_of_its_own) {
  open({command("server", "setsid sh -c 'echo $$ > " + in("helper") + "; touch " + in("up") +
                              "; exec sleep 1000' & exec sleep 1000")});
  ASSERT_TRUE(set->wait_start_all(enough).ok());
  ASSERT_TRUE(test::wait_until([&] { return std::filesystem::exists(in("up")); }, enough));
  const pid_t helper = std::stoi(content_of(in("helper")));
  ASSERT_TRUE(alive(helper));
  ASSERT_TRUE(set->wait_stop_all(5s, enough).ok());
  EXPECT_TRUE(test::wait_until([&] { return !alive(helper); }, enough));  // its zombie is init's to reap
}

TEST_F(application_set_test, a_shorter_grace_takes_effect_on_a_stop_under_way) {
  open({command("stubborn", "trap '' TERM; touch " + in("up") + "; while :; do sleep 0.01; done")});
  ASSERT_TRUE(set->wait_start_all(enough).ok());
  ASSERT_TRUE(test::wait_until([&] { return std::filesystem::exists(in("up")); }, enough));
  std::promise<void> first;
  set->stop_all(1h, [&](const absl::Status&) { first.set_value(); });
  ASSERT_TRUE(set->wait_stop_all(10ms, enough).ok());
  first.get_future().wait();
}

TEST_F(application_set_test, its_check_decides_whether_it_serves) {
  application_definition definition = command("checked", "exec sleep 1000");
  definition.check = {"/usr/bin/test", "-e", in("serving")};
  open({definition});
  std::promise<absl::Status> started;
  set->start_all([&](const absl::Status& s) { started.set_value(s); });
  ASSERT_TRUE(test::wait_until([&] { return status().state == application_state::starting; }, enough));
  std::ofstream(in("serving")) << "yes";
  EXPECT_TRUE(started.get_future().get().ok());
  EXPECT_EQ(status().state, application_state::running);
  std::filesystem::remove(in("serving"));
  ASSERT_TRUE(test::wait_until([&] { return status().state == application_state::unhealthy; }, enough));
  std::ofstream(in("serving")) << "yes";
  ASSERT_TRUE(test::wait_until([&] { return status().state == application_state::running; }, enough));
}

TEST_F(application_set_test, a_check_that_hangs_is_killed_and_a_start_has_its_time) {
  application_definition definition = command("hanging", "exec sleep 1000");
  definition.check = {"/bin/sleep", "1000"};
  definition.check_timeout = 20ms;
  definition.start_timeout = 200ms;
  open({definition});
  EXPECT_EQ(set->wait_start_all(enough).code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(status().state, application_state::unhealthy);
}

TEST_F(application_set_test, environment_directory_user_and_output) {
  application_definition definition = command(
      "env",
      "echo \"$GREETING $PATH $(pwd) $(id -un) ${NOTIFY_SOCKET-none}\"; echo oops >&2; exec sleep 1000");
  definition.environment = {"GREETING=hello world"};
  definition.working_directory = "/usr";
  definition.user = "nobody";
  ::setenv("NOTIFY_SOCKET", "/secret", 1);
  open({definition});
  ASSERT_TRUE(set->wait_start_all(enough).ok());
  ::unsetenv("NOTIFY_SOCKET");
  const std::string log = directory + "/state/env.log";
  ASSERT_TRUE(test::wait_until([&] { return content_of(log).ends_with("oops\n"); }, enough));
  EXPECT_EQ(
      content_of(log),
      "hello world /usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin /usr nobody none\noops\n");
}

TEST_F(application_set_test, sees_a_copy_at_the_primarys_own_path) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root";
  std::filesystem::create_directories(in("copy/data"));
  std::ofstream(in("copy/data/file")) << "from the copy";
  std::filesystem::create_directories(in("original"));
  std::ofstream(in("original/file")) << "something else";
  application_definition definition =
      command("bound", "cat " + in("original") + "/file > " + in("seen") + "; echo new > " + in("original") +
                           "/written; touch " + in("done") + "; exec sleep 1000");
  definition.binds = {{in("copy/data"), in("original")}, {in("copy/data"), in("not/there/yet")}};
  definition.check = {"/usr/bin/test", "-e", in("not/there/yet/written")};
  open({definition});
  ASSERT_TRUE(set->wait_start_all(enough).ok());
  EXPECT_EQ(content_of(in("seen")), "from the copy");
  EXPECT_EQ(content_of(in("copy/data/written")), "new\n");
  EXPECT_EQ(content_of(in("original/file")), "something else") << "the mount must not be seen outside";
}

TEST_F(application_set_test, a_bind_of_nothing_says_so) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root";
  application_definition definition = command("bound", "exec sleep 1000");
  definition.binds = {{in("no-copy"), in("original")}};
  definition.first_restart = 60s;
  open({definition});
  EXPECT_THAT(std::string(message_of(set->wait_start_all(enough))),
              HasSubstr("bind " + in("no-copy") + " to " + in("original")));
}

TEST_F(application_set_test, tells_the_version) {
  application_definition definition = command("pbx", "exec sleep 1000");
  definition.version = {"/bin/echo", "pbx 4.2"};
  application_definition broken = command("broken", "exec sleep 1000");
  broken.version = {"/bin/false"};
  open({definition, broken, command("none", "exec sleep 1000")});
  EXPECT_EQ(*set->version("pbx"), "pbx 4.2");
  EXPECT_EQ(*set->version("none"), "");
  EXPECT_EQ(set->version("broken").status().code(), absl::StatusCode::kAborted);
}

// The daemon is killed under a running application: the next one finds it, and stops that very process.
TEST_F(application_set_test, adopts_what_a_killed_daemon_left_running) {
  const application_definition definition =
      command("survivor", "trap 'touch " + in("term") + "; exit 0' TERM; echo $$ > " + in("pid") +
                              "; while :; do sleep 0.01; done");
  const pid_t daemon = ::fork();
  if (daemon == 0) {
    open({definition});
    const bool started = set->wait_start_all(enough).ok();
    std::ofstream(in(started ? "started" : "failed")) << "x";
    for (;;) ::pause();
  }
  ASSERT_TRUE(test::wait_until(
      [&] { return std::filesystem::exists(in("started")) && !content_of(in("pid")).empty(); }, enough));
  ::kill(daemon, SIGKILL);
  ::waitpid(daemon, nullptr, 0);
  const pid_t pid = std::stoi(content_of(in("pid")));
  ASSERT_TRUE(alive(pid)) << "it must survive its daemon";
  open({definition});
  EXPECT_EQ(status().state, application_state::running);
  EXPECT_EQ(status().pid, pid);
  ASSERT_TRUE(set->wait_start_all(enough).ok());
  EXPECT_EQ(status().pid, pid) << "started twice";
  ASSERT_TRUE(set->wait_stop_all(0ms, enough).ok());
  EXPECT_TRUE(std::filesystem::exists(in("term")));
  EXPECT_TRUE(test::wait_until([&] { return !alive(pid); }, enough));
}

TEST_F(application_set_test, a_set_that_is_closed_leaves_its_applications_running) {
  open({command("survivor", "exec sleep 1000")});
  ASSERT_TRUE(set->wait_start_all(enough).ok());
  const pid_t pid = status().pid;
  set.reset();
  EXPECT_TRUE(alive(pid));
  open({command("survivor", "exec sleep 1000")});
  EXPECT_EQ(status().pid, pid);
}

TEST_F(application_set_test, never_adopts_a_stranger_with_the_same_id) {
  std::filesystem::create_directories(directory + "/state");
  process_identity stranger = *identify(::getpid());
  stranger.start_time += 1;
  std::ofstream(directory + "/state/app.run") << format_identity(stranger);
  open({command("app", "exec sleep 1000")});
  EXPECT_EQ(status().state, application_state::stopped);
  EXPECT_EQ(status().last_event, "ended while the daemon was down");
}

TEST_F(application_set_test, refuses_bad_definitions) {
  const auto refusal = [&](application_definition d) {
    return std::string(
        message_of(application_set::open({std::move(d)}, {directory + "/state", "", "", "", {}}).status()));
  };
  EXPECT_THAT(refusal(command("../etc", "true")), HasSubstr("cannot be the name"));
  application_definition both = command("both", "true");
  both.unit = "x.service";
  EXPECT_THAT(refusal(both), HasSubstr("either a unit or a start command"));
  application_definition option = command("option", "true");
  option.start.clear();
  option.unit = "--root=/";
  EXPECT_THAT(refusal(option), HasSubstr("not the name of a unit"));
}

// A stand-in for systemctl that keeps a unit's state in files and logs its calls.
constexpr const char* fake_systemctl = R"sh(#!/bin/sh
cd "$(dirname "$0")"
echo "$*" >> calls
while [ "${1#--}" != "$1" ]; do shift; done
verb=$1; shift
case $verb in
  start)
    [ -e fail-start ] && { echo "Job failed. See journalctl." >&2; exit 1; }
    setsid sleep 1000 </dev/null >/dev/null 2>&1 & echo $! > main ;;
  stop)
    while [ -e stubborn ] && [ -e main ]; do sleep 0.01; done
    [ -e main ] && kill $(cat main)
    rm -f main ;;
  kill) kill -9 $(cat main); rm -f main ;;
  show)
    if [ -e main ]; then
      printf 'LoadState=loaded\nActiveState=active\nSubState=running\nMainPID=%s\nNRestarts=0\nResult=success\n' $(cat main)
    else
      printf 'LoadState=loaded\nActiveState=inactive\nSubState=dead\nMainPID=0\nNRestarts=0\nResult=success\n'
    fi ;;
esac
)sh";

struct unit_application_test : application_set_test {
  unit_application_test() {
    std::ofstream(in("systemctl")) << fake_systemctl;
    ::chmod(in("systemctl").c_str(), 0755);
  }
  static application_definition unit() {
    application_definition result;
    result.name = "pbx";
    result.unit = "pbx.service";
    result.check_interval = 20ms;
    return result;
  }
};

TEST_F(unit_application_test, starts_and_stops_through_systemd_with_a_runtime_drop_in) {
  application_definition definition = unit();
  definition.environment = {"A=say \"50%\""};
  definition.binds = {{"/copies/a b/root/var/lib/pbx", "/var/lib/pbx"}};
  open({definition});
  EXPECT_TRUE(set->all_down());
  ASSERT_TRUE(set->wait_start_all(enough).ok());
  EXPECT_EQ(status().state, application_state::running);
  EXPECT_EQ(status().pid, std::stoi(content_of(in("main"))));
  const std::string drop_in = in("units/pbx.service.d/50-understudy.conf");
  EXPECT_THAT(content_of(drop_in),
              HasSubstr("[Service]\nBindPaths=\"/copies/a b/root/var/lib/pbx:/var/lib/pbx\"\n"
                        "Environment=\"A=say \\\"50%%\\\"\"\n"));
  ASSERT_TRUE(set->wait_stop_all(0ms, enough).ok());
  EXPECT_FALSE(std::filesystem::exists(drop_in));
  EXPECT_TRUE(set->all_down());
}

TEST_F(unit_application_test, notices_its_end_and_finds_it_again) {
  open({unit()});
  ASSERT_TRUE(set->wait_start_all(enough).ok());
  const pid_t pid = status().pid;
  set.reset();
  open({unit()});
  EXPECT_EQ(status().pid, pid);
  EXPECT_EQ(status().state, application_state::running);
  std::filesystem::remove(in("main"));
  ::kill(pid, SIGKILL);
  ASSERT_TRUE(test::wait_until([&] { return status().state == application_state::failed; }, enough));
}

TEST_F(unit_application_test, a_refused_start_is_told_in_systemds_words) {
  std::ofstream(in("fail-start")) << "x";
  open({unit()});
  EXPECT_THAT(std::string(message_of(set->wait_start_all(enough))), HasSubstr("Job failed. See journalctl."));
}

TEST_F(unit_application_test, a_stop_that_takes_too_long_becomes_a_kill) {
  std::ofstream(in("stubborn")) << "x";
  open({unit()});
  ASSERT_TRUE(set->wait_start_all(enough).ok());
  ASSERT_TRUE(set->wait_stop_all(50ms, enough).ok());
  EXPECT_THAT(content_of(in("calls")), HasSubstr("kill --kill-who=all --signal=SIGKILL pbx.service"));
}

}  // namespace
}  // namespace understudy::application
