#include "agent-failover/server/spec_check.hpp"

#include <gmock/gmock.h>
#include <google/protobuf/util/time_util.h>
#include <gtest/gtest.h>

#include <functional>

#include "common/status/status_text.hpp"

namespace understudy::server {
namespace {

using google::protobuf::util::TimeUtil;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

v1::ServerSpec good() {
  v1::ServerSpec spec;
  spec.set_name("aklmatrix");
  spec.set_address("10.0.0.5");
  auto& database = *spec.add_databases();
  database.set_catalog("main");
  database.set_path("/var/lib/pbx/main.db");
  spec.add_files()->set_base("/var/lib/pbx/vm");
  auto& application = *spec.add_applications();
  application.set_name("pbx");
  application.set_unit("pbx.service");
  return spec;
}

std::vector<std::string> fields(const std::vector<violation>& violations) {
  std::vector<std::string> all;
  for (const auto& one : violations) all.push_back(one.field);
  return all;
}

TEST(host_spec_check, accepts_what_is_right) {
  EXPECT_THAT(fields(check(good())), IsEmpty());
  v1::ServerSpec spec = good();
  spec.set_address("fd00::5");
  spec.set_port(65535);
  spec.set_daily("23:59 Europe/Vienna");
  spec.set_local_dir("/srv/copies/a");
  spec.set_assume_ip(true);
  spec.add_service_addresses()->set_address("10.0.0.50");
  EXPECT_THAT(fields(check(spec)), IsEmpty());
  EXPECT_TRUE(to_status({}).ok());
  EXPECT_THAT(fields(check(v1::Settings{})), IsEmpty());
}

struct wrong {
  const char* field;
  std::function<void(v1::ServerSpec&)> make;
};

TEST(host_spec_check, mode_configuration_needs_a_table) {
  v1::ServerSpec spec = good();
  spec.set_mode(v1::REPLICATION_MODE_CONFIGURATION);
  EXPECT_THAT(fields(check(spec)), ElementsAre("server.mode"));
  spec.mutable_databases(0)->add_configuration_tables("users");
  EXPECT_THAT(fields(check(spec)), IsEmpty());
  spec.mutable_databases(0)->add_configuration_tables("sqlite_sequence");
  EXPECT_THAT(fields(check(spec)), ElementsAre("server.databases[0].configuration_tables"));
  // Filled in from the agent's configuration later.
  spec.clear_databases();
  EXPECT_THAT(fields(check(spec)), IsEmpty());
}

TEST(host_spec_check, names_every_violation) {
  const std::vector<wrong> all = {
      {"server.name", [](auto& s) { s.set_name(""); }},
      {"server.name", [](auto& s) { s.set_name(".hidden"); }},
      {"server.name", [](auto& s) { s.set_name("-option"); }},
      {"server.name", [](auto& s) { s.set_name("a/b"); }},
      {"server.name", [](auto& s) { s.set_name(".."); }},
      {"server.name", [](auto& s) { s.set_name(std::string(65, 'a')); }},
      {"server.address", [](auto& s) { s.set_address("pbx.example"); }},
      {"server.address", [](auto& s) { s.set_address(""); }},
      {"server.port", [](auto& s) { s.set_port(65536); }},
      {"server.daily", [](auto& s) { s.set_daily("24:00"); }},
      {"server.daily", [](auto& s) { s.set_daily("02:30 Mars/Olympus"); }},
      {"server.daily", [](auto& s) { s.set_daily("12:60"); }},
      {"server.daily", [](auto& s) { s.set_daily("3:30"); }},
      {"server.daily", [](auto& s) { s.set_daily("ab:cd"); }},
      {"server.auto_stop",
       [](auto& s) {
         s.set_auto_stop(true);
         s.set_auto_stop_choice(v1::DIVERGED_CHOICE_KEEP_PRIMARY);
         s.set_assume_ip(true);
       }},
      {"server.auto_stop_choice", [](auto& s) { s.set_auto_stop(true); }},
      {"server.local_dir", [](auto& s) { s.set_local_dir("relative"); }},
      {"server.local_dir", [](auto& s) { s.set_local_dir("/a/../b"); }},
      {"server.service_addresses[0]",
       [](auto& s) {
         s.set_assume_ip(true);
         s.add_service_addresses()->set_address("nonsense");
       }},
      {"server.service_addresses[0]",
       [](auto& s) {
         s.set_assume_ip(true);
         s.add_service_addresses()->set_address(s.address());
       }},
      {"server.service_addresses", [](auto& s) { s.add_service_addresses()->set_address("10.0.0.50"); }},
      {"server.databases[0].catalog", [](auto& s) { s.mutable_databases(0)->set_catalog("a/b"); }},
      {"server.databases[1].catalog", [](auto& s) { *s.add_databases() = s.databases(0); }},
      {"server.databases[0].path", [](auto& s) { s.mutable_databases(0)->set_path("/var/../main.db"); }},
      {"server.databases[0].path", [](auto& s) { s.mutable_databases(0)->set_path("/main.db"); }},
      {"server.files[0].base", [](auto& s) { s.mutable_files(0)->set_base("/var//vm"); }},
      {"server.files[0].base", [](auto& s) { s.mutable_files(0)->set_base("/"); }},
      {"server.applications[0].name", [](auto& s) { s.mutable_applications(0)->set_name("a b"); }},
      {"server.applications[1].name", [](auto& s) { *s.add_applications() = s.applications(0); }},
      {"server.applications[0]", [](auto& s) { s.mutable_applications(0)->clear_unit(); }},
      {"server.applications[0]", [](auto& s) { s.mutable_applications(0)->add_start("/bin/x"); }},
      {"server.ping.interval",
       [](auto& s) { *s.mutable_ping()->mutable_interval() = TimeUtil::MillisecondsToDuration(49); }},
      {"server.ping.interval",
       [](auto& s) { *s.mutable_ping()->mutable_interval() = TimeUtil::MillisecondsToDuration(60001); }},
      {"server.ping.interval",
       [](auto& s) { *s.mutable_ping()->mutable_interval() = TimeUtil::MillisecondsToDuration(-5); }},
      {"server.ping.timeout",
       [](auto& s) {
         *s.mutable_ping()->mutable_interval() = TimeUtil::MillisecondsToDuration(100);
         *s.mutable_ping()->mutable_timeout() = TimeUtil::MillisecondsToDuration(101);
       }},
      {"server.ping.timeout",
       [](auto& s) { *s.mutable_ping()->mutable_timeout() = TimeUtil::MillisecondsToDuration(-1); }},
      {"server.ping.warning_count",
       [](auto& s) {
         s.mutable_ping()->set_warning_count(6);
         s.mutable_ping()->set_failover_count(5);
       }},
      {"server.ping.failover_count", [](auto& s) { s.mutable_ping()->set_failover_count(1001); }},
      {"server.ping.failover_count_after_reboot",
       [](auto& s) { s.mutable_ping()->set_failover_count_after_reboot(1001); }},
  };
  for (const auto& one : all) {
    v1::ServerSpec spec = good();
    one.make(spec);
    const auto found = check(spec);
    EXPECT_THAT(fields(found), ElementsAre(one.field)) << to_status(found);
    EXPECT_TRUE(absl::IsInvalidArgument(to_status(found)));
    EXPECT_THAT(message_of(to_status(found)), HasSubstr(one.field));
  }
}

TEST(host_spec_check, a_database_in_the_root_directory_is_fine_where_it_is_not_presented) {
  v1::ServerSpec spec = good();
  spec.mutable_databases(0)->set_path("/main.db");
  spec.set_present(v1::PRESENTATION_ENVIRONMENT);
  EXPECT_THAT(fields(check(spec)), IsEmpty());
}

TEST(host_spec_check, says_everything_that_is_wrong_at_once) {
  v1::ServerSpec spec = good();
  spec.set_name("");
  spec.set_port(70000);
  EXPECT_THAT(fields(check(spec)), SizeIs(2));
  EXPECT_THAT(message_of(to_status(check(spec))), HasSubstr("; server.port"));
}

TEST(host_spec_check, settings) {
  v1::Settings settings;
  settings.mutable_alerts()->set_smtp_server("mail.example");
  settings.mutable_alerts()->set_smtp_port(65536);
  settings.set_application_dir("relative");
  settings.mutable_ping()->set_warning_count(2000);
  EXPECT_THAT(fields(check(settings)),
              ElementsAre("settings.ping.warning_count", "settings.alerts.smtp_port", "settings.alerts.from",
                          "settings.alerts.recipients", "settings.application_dir"));
}

TEST(host_spec_check, the_classic_pings_are_the_default) {
  const v1::PingSettings ping = effective_ping({}, {});
  EXPECT_EQ(TimeUtil::DurationToMilliseconds(ping.interval()), 2000);
  EXPECT_EQ(TimeUtil::DurationToMilliseconds(ping.timeout()), 1000);
  EXPECT_EQ(ping.warning_count(), 5u);
  EXPECT_EQ(ping.failover_count(), 15u);
  EXPECT_EQ(ping.failover_count_after_reboot(), 30u);
}

TEST(host_spec_check, a_servers_pings_win_over_the_settings_one_by_one) {
  v1::Settings settings;
  settings.mutable_ping()->set_failover_count(20);
  settings.mutable_ping()->set_warning_count(7);
  v1::ServerSpec spec;
  spec.mutable_ping()->set_failover_count(6);
  *spec.mutable_ping()->mutable_interval() = TimeUtil::MillisecondsToDuration(500);
  const v1::PingSettings ping = effective_ping(spec, settings);
  EXPECT_EQ(ping.failover_count(), 6u);
  EXPECT_EQ(ping.warning_count(), 6u) << "never later than the takeover";
  EXPECT_EQ(TimeUtil::DurationToMilliseconds(ping.interval()), 500);
  EXPECT_EQ(TimeUtil::DurationToMilliseconds(ping.timeout()), 500) << "never longer than the interval";
}

TEST(host_spec_check, the_count_after_a_reboot_is_never_less_cautious) {
  v1::ServerSpec spec;
  spec.mutable_ping()->set_failover_count(100);
  EXPECT_EQ(effective_ping(spec, {}).failover_count_after_reboot(), 100u);
}

TEST(host_spec_check, warns_of_pings_that_take_over_in_a_hurry) {
  v1::PingSettings ping;
  EXPECT_THAT(ping_warnings(ping), IsEmpty());
  ping.set_failover_count(5);
  EXPECT_THAT(ping_warnings(ping), IsEmpty()) << "5 * 2000 ms";
  ping.set_failover_count(4);
  EXPECT_THAT(ping_warnings(ping), ElementsAre(HasSubstr("8000 ms")));
  ping.clear_failover_count();
  *ping.mutable_interval() = TimeUtil::MillisecondsToDuration(100);
  EXPECT_THAT(ping_warnings(ping), ElementsAre(HasSubstr("1500 ms")));
}

}  // namespace
}  // namespace understudy::server
