// Files through the whole system: what a failback does with them.

#include <signal.h>

#include <filesystem>
#include <fstream>
#include <thread>

#include "tests/lab/system_fixture.hpp"

namespace understudy::test {
namespace {

using testing::HasSubstr;

constexpr int exit_precondition = 7;

class system_files : public system_test {
 protected:
  std::string files() const { return site->options().application.files; }
  std::string on_primary(const std::string& name) { return site->primary().read_file(files() + "/" + name); }
  void write_on_primary(const std::string& name, const std::string& content) {
    std::ofstream(site->on_primary(files() + "/" + name)) << content;
  }
  void write_on_copy(const std::string& name, const std::string& content) {
    std::ofstream(site->copy_of(files() + "/" + name)) << content;
  }
  // Both sides write to "both"; the database goes on only at the stand-in.
  void diverge() {
    protect();
    write_document("both", "shared");
    ASSERT_TRUE(wait_until([&] { return copy_has_document("both"); }, 10s, 20ms));
    ASSERT_TRUE(site->wait_in_step());
    site->primary().cut();
    ASSERT_TRUE(site->wait_phase("StandingIn"));
    write_on_primary("both", "of the primary");
    write_on_copy("both", "of the stand-in");
    write_on_copy("made", "by the stand-in");
    site->power_off();
    ASSERT_NO_FATAL_FAILURE(power_on_and_meet());
  }
};

TEST_F(system_files, changed_on_both_sides_need_a_choice_and_are_kept_in_both_versions) {
  ASSERT_NO_FATAL_FAILURE(diverge());
  const ctl_result refused = site->ctl({"failback", "primary", "--yes"});
  EXPECT_EQ(refused.exit, exit_precondition) << refused.output << refused.error;
  EXPECT_THAT(refused.output + refused.error, HasSubstr("both"));
  EXPECT_THAT(refused.output + refused.error, HasSubstr("--discard-primary"));
  EXPECT_TRUE(site->wait_phase("StandingIn"));
  EXPECT_TRUE(serves(site->service_address()));
  EXPECT_EQ(on_primary("both"), "of the primary");

  site->must({"failback", "primary", "--discard-primary", "--yes"});
  ASSERT_TRUE(serves(site->service_address()));
  EXPECT_EQ(on_primary("both"), "of the stand-in");
  EXPECT_EQ(on_primary("made"), "by the stand-in");
  std::string kept;
  for (const auto& found : std::filesystem::recursive_directory_iterator(
           site->on_primary(site->options().application.directory + "/.understudy-set-aside"))) {
    if (found.path().filename() != "both") continue;
    std::getline(std::ifstream(found.path()), kept);
  }
  EXPECT_EQ(kept, "of the primary");
  EXPECT_THAT(site->must({"events", "primary"}), HasSubstr("files changed on both sides: both"));
  EXPECT_TRUE(site->wait_in_step());
}

TEST_F(system_files, an_agent_killed_in_the_middle_of_a_failback_loses_nothing) {
  protect();
  const std::string address = site->service_address();
  int round = 0;
  for (const std::string step : {"reverse_heal", "stop_stand_in", "drain"}) {
    SCOPED_TRACE(step);
    write_document("before" + step, "1");
    ASSERT_TRUE(site->wait_in_step());
    site->must({"failover", "primary", "--yes"});
    ASSERT_TRUE(serves(address));
    for (int i = 0; i < 200; ++i)
      write_on_copy("f" + std::to_string(i), step + std::string(20'000, static_cast<char>('a' + round)));
    ++round;
    const std::size_t logged = site->host_daemon().log().size();
    ctl_result first;
    std::thread operator_at_work([&] { first = site->ctl({"failback", "primary", "--yes"}); });
    EXPECT_TRUE(wait_until(
        [&] { return site->host_daemon().log().find("] " + step + " done in", logged) != std::string::npos; },
        20s, 1ms));
    site->agent().signal(SIGKILL);
    site->agent().wait();
    operator_at_work.join();
    site->start_agent();
    // A failback that was given up is over when the stand-in's takeover is complete.
    ASSERT_TRUE(site->wait_state(
        [](const v1::ServerState& now) {
          return now.agent_connected() && (now.state() == "StandingIn" || now.state() == "Monitoring");
        },
        15s));
    if (site->state()->state() == "StandingIn") {
      ASSERT_TRUE(serves(address));
      site->must({"failback", "primary", "--discard-primary", "--yes"});
    }
    ASSERT_TRUE(serves(address));
    for (int i = 0; i < 200; i += 13)
      EXPECT_EQ(on_primary("f" + std::to_string(i)).size(), step.size() + 20'000) << i;
    EXPECT_EQ(on_primary("f7").substr(0, step.size()), step);
    ASSERT_TRUE(site->wait_in_step());
  }
}

TEST_F(system_files, changes_are_followed_as_they_reach_the_copy_and_gaps_are_told) {
  protect();
  ASSERT_TRUE(site->wait_in_step());
  write_document("seen.wav", "x");
  EXPECT_TRUE(wait_until([&] { return copy_has_document("seen.wav"); }, 10s, 5ms));
  std::filesystem::rename(site->on_primary(files() + "/seen.wav"), site->on_primary(files() + "/seen.txt"));
  EXPECT_TRUE(wait_until([&] { return copy_has_document("seen.txt"); }, 10s, 5ms));
  std::filesystem::remove(site->on_primary(files() + "/seen.txt"));
  EXPECT_TRUE(wait_until([&] { return !copy_has_document("seen.txt"); }, 10s, 5ms));
  write_document("not of interest", "x");
  ASSERT_TRUE(site->wait_in_step());

  const auto changes_since = [&](const std::string& cursor, const std::vector<std::string>& more = {}) {
    std::vector<std::string> command{"changes", "primary", "--files", "--cursor", cursor};
    command.insert(command.end(), more.begin(), more.end());
    return site->must(command);
  };
  const std::string seen = changes_since("oldest", {"--name", "seen*"});
  const auto put = seen.find("PUT seen.wav ");
  const auto moved = std::min(seen.find("RENAME seen.wav -> seen.txt\n"), seen.find("PUT seen.txt "));
  const auto removed = seen.find("REMOVE seen.txt\n");
  EXPECT_NE(removed, std::string::npos) << seen;
  EXPECT_LT(put, moved) << seen;
  EXPECT_LT(moved, removed) << seen;
  EXPECT_EQ(seen.find("interest"), std::string::npos) << seen;

  const std::string documents = changes_since("oldest", {"-o", "json"});
  const std::string key = "\"cursor\":\"";
  const auto at = documents.rfind(key);
  ASSERT_NE(at, std::string::npos) << documents;
  const std::string cursor =
      documents.substr(at + key.size(), documents.find('"', at + key.size()) - at - key.size());

  site->must({"failover", "primary", "--yes"});
  ASSERT_TRUE(serves(site->service_address()));
  site->must({"failback", "primary", "--yes"});
  ASSERT_TRUE(serves(site->service_address()));
  ASSERT_TRUE(site->wait_in_step());
  EXPECT_THAT(changes_since(cursor), HasSubstr("a stand-in"));

  process& daemon = site->host_daemon();
  daemon.signal(SIGTERM);
  daemon.wait();
  site->start_host();
  ASSERT_TRUE(site->wait_in_step());
  EXPECT_THAT(changes_since(cursor), HasSubstr("GAP: changes are missing (the failover host was started"));
}

}  // namespace
}  // namespace understudy::test
