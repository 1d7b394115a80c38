// Views against their golden files in tests/golden/ctl. UNDERSTUDY_UPDATE_GOLDEN=1 writes them anew.

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <sstream>

#include "agent-failover/ctl/doctor.hpp"
#include "agent-failover/ctl/history_text.hpp"
#include "agent-failover/ctl/spec_view.hpp"
#include "agent-failover/ctl/status_view.hpp"
#include "google/protobuf/text_format.h"

namespace understudy::ctl {
namespace {

const view HOW{clock_time{std::chrono::seconds{1'000'000}}, 0, false};

void expect_golden(const std::string& name, const std::string& text) {
  const auto path = std::string{UNDERSTUDY_GOLDEN_DIR} + "/ctl/" + name;
  if (std::getenv("UNDERSTUDY_UPDATE_GOLDEN") != nullptr) std::ofstream{path} << text;
  std::ostringstream golden;
  golden << std::ifstream{path}.rdbuf();
  EXPECT_EQ(text, golden.str()) << path;
}

template <class Message>
Message parsed(const std::string& text) {
  Message message;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &message));
  return message;
}

v1::GetStatusResponse three_servers() {
  return parsed<v1::GetStatusResponse>(R"pb(
    servers {
      name: "aklmatrix"
      status: SERVER_STATUS_OK
      since { seconds: 990000 }
      is_protected: true
      agent_connected: true
      agent_version: "0.1.0"
      state: "Monitoring"
      round_trip { nanos: 1200000 }
      failover_count: 15
      epoch: 3
      mode: REPLICATION_MODE_ALL
      protection: PROTECTION_MODE_COMPAT
      address: "10.0.0.5"
      databases {
        name: "ctserver"
        phase: COPY_PHASE_STREAMING
        durable: 1201
        size_bytes: 73400320
        heals: 1
        last_heal_reason: "first copy"
        durable_captured_at { seconds: 999997 }
        behind_transactions: 0
        behind_bytes: 0
      }
      databases {
        name: "voicemail"
        phase: COPY_PHASE_BEHIND
        durable: 88
        durable_captured_at { seconds: 999990 }
        behind { seconds: 9 }
        behind_transactions: 120
        behind_bytes: 2097152
      }
      databases {
        name: "cdr"
        phase: COPY_PHASE_CUT
        durable: 7
        durable_captured_at { seconds: 996400 }
        behind { seconds: 120 }
        reason: "the link is down"
      }
      files {
        name: "/var/lib/pbx/vm"
        phase: COPY_PHASE_BEHIND
        durable: 17
        behind { seconds: 4 }
        size_bytes: 1048576
      }
      primary_applications {
        name: "pbx"
        state: APPLICATION_STATE_RUNNING
        last_event: "started"
        since { seconds: 900000 }
        pid: 4711
      }
      warnings: "versions differ: agent 0.1.0, host 0.2.0"
    }
    servers {
      name: "till"
      status: SERVER_STATUS_SUSPECT
      since { seconds: 999991 }
      reason: "4 pings missed"
      next: "takeover after 11 more missed pings"
      is_protected: false
      missed_pings: 4
      failover_count: 15
      databases {
        name: "shop"
        phase: COPY_PHASE_COPYING
        bytes_done: 999
        bytes_total: 1000
        behind { seconds: 61 }
      }
    }
    servers {
      name: "wiki"
      status: SERVER_STATUS_FAILURE
      since { seconds: 999880 }
      reason: "takeover blocked: slot busy"
      queue_position: 1
    }
    host {
      version: "0.2.0"
      standing_in_for: "pbx2"
      queue: "wiki"
      started_at { seconds: 913600 }
      initialized: true
    }
  )pb");
}

TEST(ctl_view, status_of_all) {
  expect_golden("status_table.txt", status_table(three_servers(), "127.0.0.1:7200", HOW));
  EXPECT_FALSE(is_healthy(three_servers()));
}

TEST(ctl_view, status_of_none) {
  const auto none =
      parsed<v1::GetStatusResponse>("host { version: '0.2.0' blind: true reason: 'no carrier on eth0' }");
  expect_golden("status_none.txt", status_table(none, "127.0.0.1:7200", HOW));
  EXPECT_FALSE(is_healthy(none));
}

TEST(ctl_view, one_server) {
  setenv("TZ", "UTC", 1);
  expect_golden("status_one.txt", server_view(three_servers().servers(0), HOW));
}

TEST(ctl_view, explain) {
  const auto explained = parsed<v1::ExplainResponse>(R"pb(
    text: "till is in doubt: 4 pings in a row got no reply.\nThe last reply came 9 s ago."
    state { name: "till" state: "Suspect(4)" }
    steps {
      step: "TakingOver(fence)"
      epoch: 4
      began_at { seconds: 1795400000 }
      ended_at { seconds: 1795400000 nanos: 150000000 }
      outcome: "ok"
    }
    steps {
      step: "TakingOver(address_probe)"
      epoch: 4
      began_at { seconds: 1795400001 }
    }
    transitions { event: "ping reply" to: "Monitoring" comment: "it lives" }
    transitions { event: "ping missed" guard: "misses = 15" to: "Claiming" comment: "declared failed" }
  )pb");
  expect_golden("explain.txt", explain_view(explained, HOW));
}

TEST(ctl_view, server_configuration) {
  const auto spec = parsed<v1::ServerSpec>(R"pb(
    name: "aklmatrix"
    address: "10.0.0.5"
    assume_ip: true
    service_addresses { address: "10.0.0.50" prefix_length: 24 }
    daily: "02:30"
    mode: REPLICATION_MODE_ALL
    etag: "7"
    databases { catalog: "ctserver" path: "/var/lib/pbx/ctserver.db" }
    files {
      base: "/var/lib/pbx/vm"
      include { subdirectory: "extn" types: "*.wav" types: "*.vox" recursive: true }
    }
    applications { name: "pbx" unit: "pbx.service" }
  )pb");
  expect_golden("server_show.txt", spec_view(spec, HOW));
  v1::ListServersResponse list;
  *list.add_servers() = spec;
  expect_golden("server_list.txt", server_list_view(list, HOW));
}

TEST(ctl_view, history) {
  setenv("TZ", "UTC", 1);
  const auto event = parsed<v1::Event>(
      "id: 1 at { seconds: 5 } server: 'a' kind: 'takeover' severity: EVENT_SEVERITY_ERROR text: "
      "'stands\\nin' actor: 'automatic'");
  EXPECT_EQ(event_line(event, HOW), "1970-01-01 00:00:05 ERROR a takeover: stands?in (by automatic)\n");
  const auto row = parsed<v1::WatchRowsResponse>(R"pb(
    catalog: "c"
    table: "users"
    kind: ROW_CHANGE_KIND_UPDATE
    rowid: 7
    committed_at { seconds: 5 }
    before { column: "id" integer: 7 }
    before { column: "name" text: "old" }
    before { column: "x" }
    after { column: "id" integer: 7 }
    after { column: "name" text: "new" }
    after { column: "x" blob: "abc" }
  )pb");
  EXPECT_EQ(row_change_line(row),
            "1970-01-01 00:00:05 c.users UPDATE rowid=7 name='new' (was 'old') x=blob of 3 B (was NULL)\n");
}

TEST(ctl_doctor, finds_what_would_prevent_a_takeover) {
  auto findings = findings_of(three_servers());
  const auto versions = parsed<v1::GetVersionResponse>(
      "version: '0.2.0' agents { key: 'aklmatrix' value: '0.1.0' } agents { key: 'till' value: '0.9.0' }");
  for (auto& found : findings_of(versions, "0.2.0")) findings.push_back(found);
  expect_golden("doctor.txt", doctor_view(findings, HOW));
}

}  // namespace
}  // namespace understudy::ctl
