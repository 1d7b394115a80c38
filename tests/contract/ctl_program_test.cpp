// The program as scripts and people meet it: exit codes, what is on stdout, what is asked before something
// happens.

#include <filesystem>
#include <fstream>
#include <sstream>

#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "tests/contract/ctl_fixture.hpp"
#include "understudy/v1/change_feed.pb.h"

namespace understudy::test {
namespace {

TEST_F(ctl_program, every_status_code_has_its_exit_code) {
  const std::pair<grpc::StatusCode, int> table[] = {{grpc::StatusCode::CANCELLED, 1},
                                                    {grpc::StatusCode::UNKNOWN, 1},
                                                    {grpc::StatusCode::INVALID_ARGUMENT, 2},
                                                    {grpc::StatusCode::DEADLINE_EXCEEDED, 8},
                                                    {grpc::StatusCode::NOT_FOUND, 6},
                                                    {grpc::StatusCode::ALREADY_EXISTS, 7},
                                                    {grpc::StatusCode::PERMISSION_DENIED, 5},
                                                    {grpc::StatusCode::RESOURCE_EXHAUSTED, 1},
                                                    {grpc::StatusCode::FAILED_PRECONDITION, 7},
                                                    {grpc::StatusCode::ABORTED, 7},
                                                    {grpc::StatusCode::OUT_OF_RANGE, 2},
                                                    {grpc::StatusCode::UNIMPLEMENTED, 1},
                                                    {grpc::StatusCode::INTERNAL, 1},
                                                    {grpc::StatusCode::UNAVAILABLE, 4},
                                                    {grpc::StatusCode::DATA_LOSS, 1},
                                                    {grpc::StatusCode::UNAUTHENTICATED, 5}};
  for (const auto& [code, expected] : table) {
    host_.fails("Explain", {code, "because"});
    const auto got = run({"explain", "a"});
    EXPECT_EQ(got.code, expected) << code << got.err;
    EXPECT_EQ(got.out, "");
    EXPECT_NE(got.err, "");
  }
  // An operation that ended with an error gives the same.
  for (const auto& [code, expected] : table) {
    script_failover(code);
    const auto got = run({"failover", "a", "--yes"});
    EXPECT_EQ(got.code, expected) << code << got.err;
    EXPECT_EQ(got.out, "");
  }
}

TEST_F(ctl_program, status_is_3_when_something_is_not_ok) {
  host_.answers("GetStatus", status_of(v1::SERVER_STATUS_OK));
  EXPECT_EQ(run({"status"}).code, 0);
  for (const auto status : {v1::SERVER_STATUS_SUSPECT, v1::SERVER_STATUS_SUSPENDED, v1::SERVER_STATUS_STOPPED,
                            v1::SERVER_STATUS_FAILURE, v1::SERVER_STATUS_REPLICATING}) {
    host_.answers("GetStatus", status_of(status));
    EXPECT_EQ(run({"status"}).code, 3);
    EXPECT_EQ(run({"status", "a", "-o", "json"}).code, 3);
  }
}

TEST_F(ctl_program, unreachable_and_wrong_usage) {
  host_.stop();
  const auto gone = run({"status"});
  EXPECT_EQ(gone.code, 4) << gone.err;
  EXPECT_NE(gone.err.find("UNDERSTUDY_HOST"), std::string::npos);
  for (const words& wrong : std::vector<words>{{},
                                               {"statsu"},
                                               {"server"},
                                               {"status", "--hots"},
                                               {"explain"},
                                               {"server", "set", "a", "x=1"},
                                               {"suspend", "a", "--for", "x"},
                                               {"failover", "a", "--force", "--yes"},
                                               {"status", "--timeout", "soon"}}) {
    const auto got = run(wrong);
    EXPECT_EQ(got.code, 2) << (wrong.empty() ? "" : wrong[0]) << got.err;
    EXPECT_EQ(got.out, "");
  }
  EXPECT_NE(run({"statsu"}).err.find("did you mean \"status\""), std::string::npos);
  EXPECT_NE(run({"status", "--hots", "x"}).err.find("did you mean \"--host\""), std::string::npos);
  EXPECT_EQ(run({"--help"}).code, 0);
  EXPECT_EQ(run({"--version"}).out.substr(0, 14), "understudyctl ");
}

TEST_F(ctl_program, a_host_that_has_no_such_method_yet) {
  const auto got = run({"rehearse", "a"});
  EXPECT_EQ(got.code, 1);
  EXPECT_NE(got.err.find("not built yet"), std::string::npos);
}

TEST_F(ctl_program, error_details_are_shown_as_hints) {
  google::rpc::Status details;
  google::rpc::ErrorInfo info;
  info.set_reason("SLOT_BUSY");
  details.add_details()->PackFrom(info);
  google::rpc::Help help;
  help.add_links()->set_url("understudyctl failback b");
  details.add_details()->PackFrom(help);
  host_.fails("Failover",
              {grpc::StatusCode::FAILED_PRECONDITION, "the place is taken", details.SerializeAsString()});
  const auto got = run({"failover", "a", "--yes"});
  EXPECT_EQ(got.code, 7);
  EXPECT_EQ(got.err, "understudyctl: the place is taken\n  reason: SLOT_BUSY\n  understudyctl failback b\n");
}

TEST_F(ctl_program, destructive_verbs_without_a_terminal_need_yes_and_ask_nobody_before) {
  script_failover();
  for (const words& verb : std::vector<words>{{"failover", "a"},
                                              {"stop-failover", "a"},
                                              {"failback", "a"},
                                              {"replicate", "to-live", "a"},
                                              {"server", "remove", "a"},
                                              {"application", "stop", "a"},
                                              {"agent", "revoke", "a"},
                                              {"user", "remove", "a"},
                                              {"token", "revoke", "a"}}) {
    const auto got = run(verb);
    EXPECT_EQ(got.code, 2) << verb[0];
    EXPECT_NE(got.err.find("--yes"), std::string::npos);
  }
  EXPECT_TRUE(host_.requests<v1::FailoverRequest>("Failover").empty());
}

TEST_F(ctl_program, dry_run_sends_dry_run_and_nothing_else) {
  script_failover();
  const auto got = run({"failover", "a", "--dry-run"});
  EXPECT_EQ(got.code, 0) << got.err;
  EXPECT_EQ(got.out, "a is stopped and its stand-in starts here.\n");
  const auto requests = host_.requests<v1::FailoverRequest>("Failover");
  ASSERT_EQ(requests.size(), 1U);
  EXPECT_TRUE(requests[0].dry_run());
  EXPECT_TRUE(is_json(run({"failover", "a", "--dry-run", "-o", "json"}).out));

  v1::RemoveServerResponse removed;
  removed.set_effect("a would no longer be protected");
  host_.answers("RemoveServer", removed);
  EXPECT_EQ(run({"server", "remove", "a", "--dry-run"}).code, 0);
  EXPECT_TRUE(host_.requests<v1::RemoveServerRequest>("RemoveServer").at(0).dry_run());
  host_.answers("Suspend", v1::SuspendResponse{});
  EXPECT_EQ(run({"suspend", "a", "--for", "2h", "--dry-run"}).code, 0);
  EXPECT_TRUE(host_.requests<v1::SuspendRequest>("Suspend").at(0).dry_run());
  EXPECT_EQ(host_.requests<v1::SuspendRequest>("Suspend").at(0).period().seconds(), 7200);
}

TEST_F(ctl_program, yes_acts_once_and_waits) {
  script_failover();
  const auto got = run({"failover", "a", "--yes", "--reason", "test"});
  EXPECT_EQ(got.code, 0) << got.err;
  EXPECT_EQ(got.out, "stands in for a\n");
  EXPECT_NE(got.err.find("failover a: fence"), std::string::npos);
  const auto requests = host_.requests<v1::FailoverRequest>("Failover");
  ASSERT_EQ(requests.size(), 1U);
  EXPECT_FALSE(requests[0].dry_run());
  EXPECT_EQ(requests[0].reason(), "test");
  EXPECT_EQ(run({"failover", "a", "--yes", "--no-wait"}).out, "failover-1\n");
  EXPECT_TRUE(is_json(run({"failover", "a", "--yes", "-o", "json"}).out));
}

TEST_F(ctl_program, a_wait_that_takes_too_long_is_8_and_says_what_goes_on) {
  script_failover();
  v1::WaitOperationResponse still;
  *still.mutable_operation() = running("failover-1");
  host_.answers("WaitOperation", still);
  const auto got = run({"failover", "a", "--yes", "--timeout", "300ms"});
  EXPECT_EQ(got.code, 8);
  EXPECT_NE(got.err.find("understudyctl operation wait failover-1"), std::string::npos);
}

TEST_F(ctl_program, on_a_terminal_the_typed_name_decides) {
  script_failover();
  ctl_process wrong{{"failover", "a"}, environment(), "", true};
  ASSERT_TRUE(wrong.shows("Type \"a\" to go on: ")) << wrong.out();
  EXPECT_NE(wrong.out().find("its stand-in starts here"), std::string::npos);
  wrong.type("b\n");
  EXPECT_EQ(wrong.wait(), 1);
  for (const auto& request : host_.requests<v1::FailoverRequest>("Failover")) EXPECT_TRUE(request.dry_run());

  ctl_process right{{"failover", "a"}, environment(), "", true};
  ASSERT_TRUE(right.shows("to go on: "));
  right.type("a\n");
  EXPECT_EQ(right.wait(), 0) << right.out();
  EXPECT_FALSE(host_.requests<v1::FailoverRequest>("Failover").back().dry_run());
}

TEST_F(ctl_program, colours_only_on_a_terminal_and_not_with_no_color) {
  host_.answers("GetStatus", status_of(v1::SERVER_STATUS_OK));
  EXPECT_EQ(run({"status"}).out.find('\x1b'), std::string::npos);
  ctl_process colored{{"status"}, environment(), "", true};
  EXPECT_EQ(colored.wait(), 0);
  EXPECT_NE(colored.out().find("\x1b[32mOK"), std::string::npos);
  auto plain_environment = environment();
  plain_environment.push_back("NO_COLOR=1");
  ctl_process plain{{"status"}, plain_environment, "", true};
  EXPECT_EQ(plain.wait(), 0);
  EXPECT_EQ(plain.out().find('\x1b'), std::string::npos) << plain.out();
}

TEST_F(ctl_program, json_is_one_document_of_every_reading_verb) {
  host_.answers("GetStatus", status_of(v1::SERVER_STATUS_OK));
  host_.answers("ListServers", v1::ListServersResponse{});
  host_.answers("GetServer", v1::GetServerResponse{});
  host_.answers("TestServer", v1::TestServerResponse{});
  host_.answers("AutoPopulate", v1::AutoPopulateResponse{});
  host_.answers("Explain", v1::ExplainResponse{});
  host_.answers("ListEvents", v1::ListEventsResponse{});
  host_.answers("ListLog", v1::ListLogResponse{});
  host_.answers("ListApplications", v1::ListApplicationsResponse{});
  host_.answers("ListOperations", v1::ListOperationsResponse{});
  host_.answers("ListDeletedFiles", v1::ListDeletedFilesResponse{});
  host_.answers("ListHistory", v1::ListHistoryResponse{});
  host_.answers("GetSettings", v1::GetSettingsResponse{});
  host_.answers("ListAdapters", v1::ListAdaptersResponse{});
  host_.answers("ExportConfiguration", v1::ExportConfigurationResponse{});
  host_.answers("ListUsers", v1::ListUsersResponse{});
  host_.answers("ListTokens", v1::ListTokensResponse{});
  host_.answers("ListAgents", v1::ListAgentsResponse{});
  host_.answers("GetVersion", v1::GetVersionResponse{});
  for (const words& verb : std::vector<words>{{"status"},
                                              {"status", "a"},
                                              {"server", "list"},
                                              {"server", "show", "a"},
                                              {"server", "test", "a"},
                                              {"server", "auto-populate", "10.0.0.5"},
                                              {"explain", "a"},
                                              {"events"},
                                              {"log"},
                                              {"application", "list", "a"},
                                              {"operation", "list"},
                                              {"files", "a", "--deleted"},
                                              {"restore", "a", "--list"},
                                              {"settings", "list"},
                                              {"settings", "adapters"},
                                              {"export"},
                                              {"user", "list"},
                                              {"token", "list"},
                                              {"agent", "list"},
                                              {"version"},
                                              {"doctor"},
                                              {"doctor", "--pre"}}) {
    auto arguments = verb;
    arguments.insert(arguments.end(), {"-o", "json"});
    const auto got = run(arguments);
    EXPECT_TRUE(got.code == 0 || (verb[0] == "doctor" && got.code == 3)) << verb[0] << got.err;
    EXPECT_TRUE(is_json(got.out)) << verb[0] << got.out;
  }
  // Every primitive field is there, the false and empty ones too.
  EXPECT_NE(run({"status", "-o", "json"}).out.find("\"queuePosition\": 0"), std::string::npos);
}

TEST_F(ctl_program, restore_lists_says_what_it_would_do_and_what_is_missing) {
  v1::ListHistoryResponse past;
  auto* one = past.add_databases();
  one->set_catalog("ctserver");
  one->set_available(true);
  one->mutable_begins_at()->set_seconds(1'700'000'000);
  one->mutable_last_change_at()->set_seconds(1'700'003'600);
  one->set_states(42);
  one->set_bytes(3 << 20);
  auto* other = past.add_databases();
  other->set_catalog("voicemail");
  other->set_reason("a stand-in uses it");
  host_.answers("ListHistory", past);
  const auto listed = run({"restore", "a", "--list"});
  EXPECT_EQ(listed.code, 0) << listed.err;
  for (const char* word : {"ctserver", "42", "3.0 MiB", "voicemail", "a stand-in uses it"})
    EXPECT_NE(listed.out.find(word), std::string::npos) << listed.out;

  const auto incomplete = run({"restore", "a", "--database", "ctserver", "--to", "/x.db"});
  EXPECT_EQ(incomplete.code, 2);
  EXPECT_NE(incomplete.err.find("--at is missing"), std::string::npos) << incomplete.err;
  EXPECT_NE(incomplete.err.find("restore a --list"), std::string::npos) << incomplete.err;
  EXPECT_EQ(run({"restore", "a", "--database", "c", "--at", "10m", "--to", "relative.db"}).code, 2);

  host_.on("RestoreDatabaseImage", [](const std::string& bytes) {
    v1::RestoreDatabaseImageRequest asked;
    asked.ParseFromString(bytes);
    v1::RestoreDatabaseImageResponse said;
    said.set_effect(asked.catalog() + " to " + asked.to() + (asked.dry_run() ? " not yet" : ""));
    return fake_supervisor::answer{{said.SerializeAsString()}, {}, false};
  });
  const auto dry = run({"restore", "a", "--database", "c", "--at", "10m ago", "--to", "/x.db", "--dry-run"});
  EXPECT_EQ(dry.code, 0) << dry.err;
  EXPECT_EQ(dry.out, "c to /x.db not yet\n");
}

TEST_F(ctl_program, files_lists_what_was_deleted_and_restores_it_to_a_file) {
  host_.on("ListDeletedFiles", [](const std::string& bytes) {
    v1::ListDeletedFilesRequest asked;
    asked.ParseFromString(bytes);
    v1::ListDeletedFilesResponse said;
    auto* one = said.add_files();
    one->set_path(asked.under() + "/one\ntwo\xff");
    one->set_base("/srv/vm");
    one->set_version("29388543.1");
    one->set_size(3 << 20);
    said.set_more(true);
    return fake_supervisor::answer{{said.SerializeAsString()}, {}, false};
  });
  const auto listed = run({"files", "a", "--deleted", "--under", "d"});
  EXPECT_EQ(listed.code, 0) << listed.err;
  for (const char* word : {"d/one?two", "/srv/vm", "29388543.1", "3.0 MiB"})
    EXPECT_NE(listed.out.find(word), std::string::npos) << listed.out;
  EXPECT_NE(listed.err.find("there are more"), std::string::npos) << listed.err;
  EXPECT_TRUE(is_json(run({"files", "a", "--deleted", "-o", "json"}).out));

  EXPECT_EQ(run({"files", "a"}).code, 2);
  EXPECT_EQ(run({"files", "a", "--restore", "d/x"}).code, 2);
  EXPECT_EQ(run({"files", "a", "--restore", "d/x", "--to", "relative"}).code, 2);
  EXPECT_EQ(run({"files", "a", "--restore", "d/x", "--to", "/x", "--at", "whenever"}).code, 2);

  host_.on("RestoreDeletedFile", [](const std::string& bytes) {
    v1::RestoreDeletedFileRequest asked;
    asked.ParseFromString(bytes);
    v1::RestoreDeletedFileResponse said;
    said.set_effect(asked.path() + " " + asked.version() + " to " + asked.to() +
                    (asked.has_at() ? " at" : "") + (asked.dry_run() ? " not yet" : ""));
    return fake_supervisor::answer{{said.SerializeAsString()}, {}, false};
  });
  EXPECT_EQ(run({"files", "a", "--restore", "d/x", "--to", "/x", "--which", "7.1"}).out, "d/x 7.1 to /x\n");
  EXPECT_EQ(run({"files", "a", "--restore", "d/x", "--to", "/x", "--at", "10m ago", "--dry-run"}).out,
            "d/x  to /x at not yet\n");
}

TEST_F(ctl_program, server_add_and_set_say_what_was_asked) {
  v1::AddServerResponse added;
  added.mutable_server()->set_name("a");
  host_.answers("AddServer", added);
  const auto got = run({"server",
                        "add",
                        "a",
                        "--address",
                        "10.0.0.5",
                        "--port",
                        "7101",
                        "--service-address",
                        "10.0.0.50/24",
                        "--service-address",
                        "fd00::50",
                        "--assume-ip",
                        "--daily",
                        "02:30",
                        "--mode",
                        "warm",
                        "--protection",
                        "strict",
                        "--present",
                        "environment",
                        "--local-dir",
                        "/srv/a"});
  EXPECT_EQ(got.code, 0) << got.err;
  const auto request = host_.requests<v1::AddServerRequest>("AddServer").at(0);
  EXPECT_TRUE(request.auto_populate());
  EXPECT_FALSE(request.replicate_now());
  EXPECT_EQ(request.server().port(), 7101U);
  EXPECT_EQ(request.server().service_addresses_size(), 2);
  EXPECT_EQ(request.server().mode(), v1::REPLICATION_MODE_WARM);
  EXPECT_EQ(request.server().protection(), v1::PROTECTION_MODE_STRICT);
  EXPECT_EQ(request.server().present(), v1::PRESENTATION_ENVIRONMENT);

  v1::GetServerResponse present;
  present.mutable_spec()->set_etag("41");
  host_.answers("GetServer", present);
  host_.answers("UpdateServer", v1::UpdateServerResponse{});
  EXPECT_EQ(run({"server", "set", "a", "assume-ip=no", "ping.interval=1s"}).code, 0);
  const auto update = host_.requests<v1::UpdateServerRequest>("UpdateServer").at(0);
  EXPECT_EQ(update.server().etag(), "41");
  EXPECT_EQ(update.server().name(), "a");
  ASSERT_EQ(update.update_mask().paths_size(), 2);
  EXPECT_EQ(update.update_mask().paths(0), "assume_ip");
  EXPECT_EQ(update.update_mask().paths(1), "ping.interval");
}

TEST_F(ctl_program, login_keeps_the_token_to_itself_and_uses_it) {
  v1::LoginResponse answer;
  answer.set_token("geheim");
  host_.answers("Login", answer);
  const auto got = run({"login", "--password-file", "-"}, "pass word\n");
  EXPECT_EQ(got.code, 0) << got.err;
  EXPECT_EQ(got.out.find("geheim"), std::string::npos);
  EXPECT_EQ(host_.requests<v1::LoginRequest>("Login").at(0).password(), "pass word");
  const auto file = home_ + "/.config/understudy/ctl.toml";
  EXPECT_EQ(std::filesystem::status(file).permissions(),
            std::filesystem::perms::owner_read | std::filesystem::perms::owner_write);
  host_.answers("GetStatus", status_of(v1::SERVER_STATUS_OK));
  EXPECT_EQ(run({"status"}).code, 0);
  EXPECT_EQ(host_.authorization(), "Bearer geheim");
  std::ofstream{file} << "hots = \"x\"\n";
  const auto bad = run({"status"});
  EXPECT_EQ(bad.code, 2);
  EXPECT_NE(bad.err.find("ctl.toml:1:8: there is no key \"hots\"; did you mean \"host\"?"), std::string::npos)
      << bad.err;
}

TEST_F(ctl_program, another_machine_in_plain_text_needs_to_be_asked_for) {
  const auto got = run({"status", "--host", "192.0.2.1:7200"});
  EXPECT_EQ(got.code, 2);
  EXPECT_NE(got.err.find("--insecure"), std::string::npos);
}

TEST_F(ctl_program, support_bundle_leaves_a_file_or_nothing) {
  v1::SupportBundleResponse part;
  part.set_chunk("abc");
  host_.on("SupportBundle", [=](const std::string&) {
    return fake_supervisor::answer{{part.SerializeAsString(), part.SerializeAsString()}, {}, false};
  });
  EXPECT_EQ(run({"support-bundle", "--to", "-"}).out, "abcabc");
  const auto file = home_ + "/bundle.tar";
  EXPECT_EQ(run({"support-bundle", "--to", file}).code, 0);
  EXPECT_EQ(std::filesystem::file_size(file), 6U);
  EXPECT_EQ(run({"support-bundle", "--to", file}).code, 7) << "an existing file is not overwritten";
  host_.on("SupportBundle", [=](const std::string&) {
    return fake_supervisor::answer{{part.SerializeAsString()}, {grpc::StatusCode::INTERNAL, "half"}, false};
  });
  EXPECT_EQ(run({"support-bundle", "--to", file + "2"}).code, 1);
  EXPECT_FALSE(std::filesystem::exists(file + "2"));
}

TEST_F(ctl_program, completion_scripts_load_and_complete) {
  const auto bash = run({"completion", "bash"});
  ASSERT_EQ(bash.code, 0);
  const auto file = home_ + "/completion.bash";
  std::ofstream{file} << bash.out;
  EXPECT_EQ(std::system(("bash -n " + file).c_str()), 0);
  const auto completes = [&](const std::string& line_words, int index, const std::string& expected) {
    const auto command = "bash -c 'source " + file + "; COMP_WORDS=(understudyctl " + line_words +
                         "); COMP_CWORD=" + std::to_string(index) +
                         "; _understudyctl; case \" ${COMPREPLY[*]} \" in *\" " + expected +
                         " \"*) exit 0 ;; esac; exit 1'";
    return std::system(command.c_str()) == 0;
  };
  EXPECT_TRUE(completes("stat", 1, "status"));
  EXPECT_TRUE(completes("server a", 2, "auto-populate"));
  EXPECT_TRUE(completes("server add --mo", 3, "--mode"));
  EXPECT_TRUE(completes("server add --mode w", 4, "warm"));
  EXPECT_TRUE(completes("status -o j", 3, "json"));
  EXPECT_FALSE(completes("server add --mode w", 4, "status"));
  EXPECT_NE(run({"completion", "zsh"}).out.find("compdef _understudyctl understudyctl"), std::string::npos);
  EXPECT_NE(run({"completion", "fish"}).out.find("-l discard-primary"), std::string::npos);
}

}  // namespace
}  // namespace understudy::test
