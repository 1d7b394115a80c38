#include <gtest/gtest.h>

#include <cstdlib>
#include <limits>

#include "agent-failover/ctl/argument_text.hpp"
#include "agent-failover/ctl/ctl_config.hpp"
#include "agent-failover/ctl/error_text.hpp"
#include "agent-failover/ctl/exit_code.hpp"
#include "agent-failover/ctl/human_text.hpp"
#include "agent-failover/ctl/operation_text.hpp"
#include "agent-failover/ctl/text_table.hpp"
#include "agent-failover/ctl/typo.hpp"
#include "agent-failover/ctl/version.hpp"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "understudy/v1/server.pb.h"
#include "understudy/v1/supervisor.pb.h"

namespace understudy::ctl {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;

TEST(ctl_human_text, durations_have_at_most_two_units) {
  EXPECT_EQ(duration_text(milliseconds{0}), "0 s");
  EXPECT_EQ(duration_text(milliseconds{120}), "120 ms");
  EXPECT_EQ(duration_text(milliseconds{1999}), "1 s");
  EXPECT_EQ(duration_text(seconds{125}), "2 min 5 s");
  EXPECT_EQ(duration_text(hours{3} + minutes{12} + seconds{59}), "3 h 12 min");
  EXPECT_EQ(duration_text(hours{98}), "4 d 2 h");
  EXPECT_EQ(duration_text(-seconds{5}), "-5 s");
}

TEST(ctl_human_text, ages_count_both_ways) {
  google::protobuf::Timestamp at;
  const clock_time now{seconds{1000}};
  EXPECT_EQ(ago_text(at, now), "-");
  at.set_seconds(997);
  EXPECT_EQ(ago_text(at, now), "3 s ago");
  at.set_seconds(1000);
  EXPECT_EQ(ago_text(at, now), "now");
  at.set_seconds(1000 + 7200);
  EXPECT_EQ(ago_text(at, now), "in 2 h");
}

TEST(ctl_human_text, bytes_never_round_up_to_the_next_unit) {
  EXPECT_EQ(bytes_text(0), "0 B");
  EXPECT_EQ(bytes_text(1023), "1023 B");
  EXPECT_EQ(bytes_text(1024), "1.0 KiB");
  EXPECT_EQ(bytes_text(1536), "1.5 KiB");
  EXPECT_EQ(bytes_text((1ULL << 20) - 1), "1023 KiB");
  EXPECT_EQ(bytes_text(20ULL << 30), "20 GiB");
  EXPECT_EQ(bytes_text(std::numeric_limits<std::uint64_t>::max()), "15 EiB");
}

TEST(ctl_human_text, percent_is_floored_and_100_only_when_done) {
  EXPECT_EQ(percent_text(5, 0, false), "");
  EXPECT_EQ(percent_text(999, 1000, false), "99 %");
  EXPECT_EQ(percent_text(1000, 1000, false), "99 %");
  EXPECT_EQ(percent_text(2000, 1000, false), "99 %");
  EXPECT_EQ(percent_text(1000, 1000, true), "100 %");
  EXPECT_EQ(percent_text(std::numeric_limits<std::uint64_t>::max() / 2,
                         std::numeric_limits<std::uint64_t>::max(), false),
            "50 %");
}

TEST(ctl_human_text, control_characters_do_not_reach_the_terminal) {
  EXPECT_EQ(printable("a\x1b[31mb\nc\td"), "a?[31mb?c?d");
  EXPECT_EQ(printable("\xC2\x9B"
                      "31m é"),
            "?31m é");
}

TEST(ctl_human_text, enums_lose_their_prefix) {
  EXPECT_EQ(enum_text(v1::ServerStatus_descriptor(), v1::SERVER_STATUS_OK), "OK");
  EXPECT_EQ(enum_text(v1::ServerStatus_descriptor(), 77), "77");
  EXPECT_EQ(enum_word(v1::Presentation_descriptor(), v1::PRESENTATION_ORIGINAL_PATHS), "original-paths");
}

TEST(ctl_text_table, aligns_by_characters_and_cuts_the_widest) {
  text_table table{{"NAME", "REASON"}};
  table.add_row({{"é"}, {"a long reason that goes on and on"}});
  table.add_row({{"abc"}, {""}});
  EXPECT_EQ(table.text(),
            "NAME  REASON\n"
            "é     a long reason that goes on and on\n"
            "abc   -\n");
  EXPECT_EQ(table.text(24),
            "NAME  REASON\n"
            "é     a long reason tha…\n"
            "abc   -\n");
  EXPECT_NE(table.text(0, true).find("\x1b[2m"), std::string::npos);
}

TEST(ctl_typo, finds_what_was_meant_and_nothing_else) {
  const std::vector<std::string> verbs{"status", "start", "stop", "failover", "failback", "stop-failover"};
  EXPECT_EQ(nearest("statsu", verbs), "status");
  EXPECT_EQ(nearest("failovr", verbs), "failover");
  EXPECT_EQ(nearest("fail", verbs), "failover");
  EXPECT_EQ(nearest("xyzzy", verbs), std::nullopt);
  EXPECT_EQ(edit_distance("ab", "ba"), 1U);
  EXPECT_EQ(edit_distance("", "abc"), 3U);
}

TEST(ctl_argument_text, durations) {
  EXPECT_EQ(*parse_duration("2h"), hours{2});
  EXPECT_EQ(*parse_duration("1h30m"), minutes{90});
  EXPECT_EQ(*parse_duration("1500ms"), milliseconds{1500});
  EXPECT_EQ(*parse_duration("2d"), hours{48});
  for (const char* wrong : {"", "2", "h", "2x", "-2h", "2h ", "99999999999999999999s", "99999d"}) {
    EXPECT_FALSE(parse_duration(wrong).ok()) << wrong;
  }
}

TEST(ctl_argument_text, times) {
  const clock_time now{seconds{1'000'000}};
  EXPECT_EQ(*parse_time("10m", now), now - minutes{10});
  EXPECT_EQ(*parse_time("10m ago", now), now - minutes{10});
  EXPECT_EQ(*parse_time("1970-01-01T00:00:07Z", now), clock_time{seconds{7}});
  EXPECT_TRUE(parse_time("2026-11-22 15:40", now).ok());
  EXPECT_TRUE(parse_time("2026-11-22 15:40:16", now).ok());
  for (const char* wrong : {"", "yesterday", "2026-13-22 15:40", "2026-11-22", "2026-11-22 15:40:16x"}) {
    EXPECT_FALSE(parse_time(wrong, now).ok()) << wrong;
  }
  EXPECT_EQ(*parse_time_of_day("23:59"), "23:59");
  EXPECT_EQ(*parse_time_of_day("none"), "");
  for (const char* wrong : {"24:00", "12:60", "2:30", "noon", "12-30"})
    EXPECT_FALSE(parse_time_of_day(wrong).ok()) << wrong;
}

TEST(ctl_argument_text, fields_take_words_periods_lists_and_json) {
  v1::ServerSpec spec;
  EXPECT_EQ(*set_field(&spec, "assume-ip", "yes"), "assume_ip");
  EXPECT_EQ(*set_field(&spec, "mode", "warm"), "mode");
  EXPECT_EQ(*set_field(&spec, "present", "original-paths"), "present");
  EXPECT_EQ(*set_field(&spec, "ping.interval", "1500ms"), "ping.interval");
  EXPECT_EQ(*set_field(&spec, "service_addresses", "10.0.0.5/24@eth0, fd00::5"), "service_addresses");
  EXPECT_EQ(*set_field(&spec, "databases", R"([{"catalog":"c","path":"/a.db"}])"), "databases");
  EXPECT_EQ(*set_field(&spec, "pre_hook", "/bin/true,-x"), "pre_hook");
  EXPECT_TRUE(spec.assume_ip());
  EXPECT_EQ(spec.mode(), v1::REPLICATION_MODE_WARM);
  EXPECT_EQ(spec.present(), v1::PRESENTATION_ORIGINAL_PATHS);
  EXPECT_EQ(to_milliseconds(spec.ping().interval()), milliseconds{1500});
  ASSERT_EQ(spec.service_addresses_size(), 2);
  EXPECT_EQ(spec.service_addresses(0).address(), "10.0.0.5");
  EXPECT_EQ(spec.service_addresses(0).prefix_length(), 24U);
  EXPECT_EQ(spec.service_addresses(0).adapter(), "eth0");
  EXPECT_EQ(spec.service_addresses(1).address(), "fd00::5");
  EXPECT_EQ(spec.databases(0).path(), "/a.db");
  EXPECT_EQ(spec.pre_hook_size(), 2);
  EXPECT_TRUE(set_field(&spec, "service_addresses", "").ok());
  EXPECT_EQ(spec.service_addresses_size(), 0);

  EXPECT_NE(set_field(&spec, "dialy", "1").status().ToString().find("did you mean \"daily\""),
            std::string::npos);
  EXPECT_NE(set_field(&spec, "ping.intervall", "1s").status().ToString().find("\"ping.interval\""),
            std::string::npos);
  EXPECT_NE(set_field(&spec, "mode", "hot").status().ToString().find("warm, all, configuration"),
            std::string::npos);
  for (const auto& [path, value] :
       std::vector<std::pair<const char*, const char*>>{{"port", "99999999999"},
                                                        {"port", "-1"},
                                                        {"assume_ip", "maybe"},
                                                        {"daily", "25:00"},
                                                        {"ping.interval", "fast"},
                                                        {"databases", "x"},
                                                        {"name.x", "1"},
                                                        {"service_addresses", "10.0.0.5/200"},
                                                        {"", "x"}}) {
    EXPECT_FALSE(set_field(&spec, path, value).ok()) << path << "=" << value;
  }
}

TEST(ctl_config, hosts_get_their_port_and_nonsense_is_refused) {
  EXPECT_EQ(*normalized_host("10.0.0.9"), "10.0.0.9:7200");
  EXPECT_EQ(*normalized_host("10.0.0.9:1"), "10.0.0.9:1");
  EXPECT_EQ(*normalized_host("fd00::9"), "[fd00::9]:7200");
  EXPECT_EQ(*normalized_host("[fd00::9]:7300"), "[fd00::9]:7300");
  EXPECT_EQ(*normalized_host("[fd00::9]"), "[fd00::9]:7200");
  for (const char* wrong : {"", "a:b", "a:0", "a:70000", ":7200", "a b", "[fd00::9", "http://x"}) {
    EXPECT_FALSE(normalized_host(wrong).ok()) << wrong;
  }
  EXPECT_TRUE(is_loopback("127.0.0.1:7200"));
  EXPECT_TRUE(is_loopback("[::1]:7200"));
  EXPECT_FALSE(is_loopback("10.0.0.9:7200"));
}

TEST(ctl_config, a_token_takes_its_line_and_leaves_the_rest) {
  EXPECT_EQ(with_token("", "t"), "token = \"t\"\n");
  EXPECT_EQ(with_token("# mine\nhost = \"h\"\n", "t"), "token = \"t\"\n# mine\nhost = \"h\"\n");
  EXPECT_EQ(with_token("host = \"h\"\ntoken=\"old\"\nca = \"c\"\n", "a\"b"),
            "host = \"h\"\ntoken = \"a\\\"b\"\nca = \"c\"\n");
}

TEST(ctl_error_text, details_become_hints) {
  google::rpc::Status error;
  error.set_code(9);
  error.set_message("the place is taken");
  google::rpc::ErrorInfo info;
  info.set_reason("SLOT_BUSY");
  (*info.mutable_metadata())["server"] = "b";
  error.add_details()->PackFrom(info);
  google::rpc::Help help;
  help.add_links()->set_description("see who has it");
  help.mutable_links(0)->set_url("understudyctl status");
  error.add_details()->PackFrom(help);
  google::rpc::BadRequest bad;
  bad.add_field_violations()->set_field("server.address");
  bad.mutable_field_violations(0)->set_description("not an address");
  error.add_details()->PackFrom(bad);
  const auto status = with_hint(status_of(error), "one more");
  EXPECT_EQ(error_text(status, false),
            "understudyctl: the place is taken\n"
            "  reason: SLOT_BUSY server=b\n"
            "  see who has it: understudyctl status\n"
            "  server.address: not an address\n"
            "  one more\n");
  EXPECT_EQ(exit_code_of(status.code()), exit_code::precondition);
  EXPECT_TRUE(status_of(google::rpc::Status{}).ok());

  google::rpc::Status one_field;
  one_field.set_code(3);
  one_field.set_message("server.address: not an address");
  one_field.add_details()->PackFrom(bad);
  EXPECT_EQ(error_text(status_of(one_field), false), "understudyctl: server.address: not an address\n");
}

TEST(ctl_operation_text, says_what_is_known) {
  v1::Operation operation;
  operation.set_kind(v1::OPERATION_KIND_FAILBACK);
  operation.set_server("a");
  EXPECT_EQ(progress_text(operation), "failback a: waiting");
  operation.set_phase("reverse heal");
  operation.set_bytes_done(1ULL << 20);
  operation.set_bytes_total(4ULL << 20);
  operation.set_rate(1ULL << 20);
  operation.mutable_eta()->set_seconds(3);
  EXPECT_EQ(progress_text(operation),
            "failback a: reverse heal, 25 %, 1.0 MiB of 4.0 MiB, 1.0 MiB/s, 3 s left");
}

TEST(ctl_version, one_minor_apart_works) {
  EXPECT_EQ(compare_versions("1.2.3", "1.2.9"), version_match::same);
  EXPECT_EQ(compare_versions("1.2.3", "1.3.0"), version_match::near);
  EXPECT_EQ(compare_versions("1.2", "1.4"), version_match::refused);
  EXPECT_EQ(compare_versions("1.2", "2.2"), version_match::refused);
  EXPECT_EQ(compare_versions("1.2", ""), std::nullopt);
}

}  // namespace
}  // namespace understudy::ctl
