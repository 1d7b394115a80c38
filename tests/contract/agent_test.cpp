// The real understudy-agent as a process, over real databases and applications, met as its clients meet it.

#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "common/rpc/rpc_server.hpp"
#include "common/rpc/rpc_status.hpp"
#include "common/status/status_text.hpp"
#include "grpc/reflection/v1/reflection.grpc.pb.h"
#include "tests/contract/agent_process.hpp"
#include "understudy/v1/gate.grpc.pb.h"

namespace understudy {
namespace {

using namespace std::chrono_literals;
using test::app_is;
using test::content_of;
using test::enough;
using test::lease_client;
using test::query;
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;

struct agent_test : test::agent_process {};

TEST_F(agent_test, describes_what_it_protects_and_tests_databases) {
  query(in("main.db"), "pragma journal_mode = wal; create table t(x); insert into t values (1)");
  std::ofstream(in("text"))
      << "this is not a database, whatever its name says, and long enough to have a header";
  write_config("[[files]]\nbase = \"" + directory + "\"\n");
  start();
  ASSERT_TRUE(test::wait_until(
      [&] { return describe().databases(0).status().phase() == v1::SourceStatus::PHASE_READY; }, enough));
  const v1::DescribeResponse found = describe();
  EXPECT_EQ(found.name(), "p1");
  EXPECT_FALSE(found.boot_id().empty());
  EXPECT_EQ(found.databases(0).catalog(), "main");
  EXPECT_EQ(found.databases(0).journal_mode(), "wal");
  EXPECT_EQ(found.files(0).base(), directory);
  EXPECT_EQ(found.files(0).exclude_databases(0), in("main.db"));
  EXPECT_EQ(found.right().epoch(), 0u);
  ASSERT_TRUE(test::wait_until([&] { return describe().applications(0).version() == "app 1.2"; }, enough));

  EXPECT_TRUE(test_database(in("main.db")).ok());
  EXPECT_EQ(test_database(in("main.db")).page_size(), 4096u);
  EXPECT_FALSE(test_database(in("missing.db")).ok());
  EXPECT_THAT(test_database(in("missing.db")).detail(), HasSubstr(in("missing.db")));
  EXPECT_FALSE(test_database(in("text")).ok());
  EXPECT_FALSE(test_database(in("text")).detail().empty());
  EXPECT_EQ(stop(SIGTERM), 0) << log();
}

// A path with wildcards: what appears later is protected within a second, and described.
TEST_F(agent_test, protects_databases_that_appear_later) {
  query(in("main.db"), "pragma journal_mode = wal; create table t(x)");
  std::filesystem::create_directory(in("tenants"));
  write_config("[[database]]\ncatalog = \"tenant-*\"\npath = \"" + in("tenants/*.db") + "\"\n");
  start();
  EXPECT_EQ(describe().databases_size(), 1);
  for (const std::string name : {"one", "two"}) {
    const auto begun = std::chrono::steady_clock::now();
    query(in("tenants/" + name + ".db"),
          "pragma journal_mode = wal; create table t(x); insert into t values (1)");
    ASSERT_TRUE(test::wait_until(
        [&] {
          const v1::DescribeResponse now = describe();
          return std::any_of(now.databases().begin(), now.databases().end(), [&](const auto& database) {
            return database.catalog() == "tenant-" + name &&
                   database.status().phase() == v1::SourceStatus::PHASE_READY;
          });
        },
        enough));
    std::printf("%s: protected after %.0f ms\n", name.c_str(),
                std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begun).count());
  }
  EXPECT_EQ(describe().databases_size(), 3);
  EXPECT_EQ(stop(SIGTERM), 0) << log();
}

TEST_F(agent_test, answers_reflection_in_both_versions) {
  write_config();
  start();
  for (const char* version : {"v1", "v1alpha"}) {
    using request_type = grpc::reflection::v1::ServerReflectionRequest;
    using response_type = grpc::reflection::v1::ServerReflectionResponse;
    const std::string path =
        std::string("/grpc.reflection.") + version + ".ServerReflection/ServerReflectionInfo";
    const grpc::internal::RpcMethod method(path.c_str(), grpc::internal::RpcMethod::BIDI_STREAMING, channel);
    grpc::ClientContext context;
    deadline(context);
    const std::unique_ptr<grpc::ClientReaderWriter<request_type, response_type>> stream(
        grpc::internal::ClientReaderWriterFactory<request_type, response_type>::Create(channel.get(), method,
                                                                                       &context));
    request_type request;
    request.set_list_services("*");
    response_type response;
    ASSERT_TRUE(stream->Write(request) && stream->Read(&response)) << version;
    std::vector<std::string> names;
    for (const auto& service : response.list_services_response().service()) names.push_back(service.name());
    EXPECT_THAT(names, Contains("understudy.v1.PrimaryAgent")) << version;
    EXPECT_THAT(names, Contains("grpc.health.v1.Health")) << version;
  }
}

TEST_F(agent_test, refuses_bad_input_with_its_place) {
  write_config("[host]\nboot_wiat = \"60s\"\n");
  EXPECT_EQ(run({"--config", in("agent.toml"), "--check"}, true), 2);
  EXPECT_THAT(log(),
              HasSubstr(in("agent.toml") + ":13:1: unknown key \"boot_wiat\"; did you mean \"boot_wait\"?"));
  EXPECT_EQ(run({"--config", in("agent.toml")}, true), 2);
  EXPECT_EQ(run({"--config", in("nothing.toml")}, true), 2);
  EXPECT_THAT(log(), HasSubstr(in("nothing.toml")));
  EXPECT_EQ(run({"--no-such-option"}, true), 2);
  EXPECT_EQ(run({"--version"}, true), 0);
  EXPECT_THAT(log(), HasSubstr("understudy-agent "));
}

TEST_F(agent_test, a_port_in_use_ends_it_before_it_touches_anything) {
  write_config();
  start();
  const std::string config = content_of(in("agent.toml"));
  struct : agent_test {
    void TestBody() override {}
  } second_place;  // with a directory of its own
  std::string second = config;
  second.replace(second.find("127.0.0.1:0"), 11, "127.0.0.1:" + std::to_string(port));
  second.replace(second.find(in("state")), in("state").size(), second_place.in("state"));
  std::ofstream(second_place.in("agent.toml")) << second;
  std::filesystem::create_directories(second_place.in("state"));
  std::ofstream(second_place.in("state/may-run")) << "from the boot before";
  EXPECT_EQ(second_place.run({"--config", second_place.in("agent.toml")}, true), 1);
  EXPECT_THAT(second_place.log(), HasSubstr("Address already in use"));
  EXPECT_FALSE(std::filesystem::exists(second_place.in("state/applications/app.run")));
  EXPECT_FALSE(std::filesystem::exists(second_place.in("state/may-run")))
      << "units would start without anybody to ask";

  // The same directory twice.
  std::ofstream(second_place.in("agent.toml")) << config;
  EXPECT_EQ(second_place.run({"--config", second_place.in("agent.toml")}, true), 1);
  EXPECT_THAT(second_place.log(), HasSubstr("another understudy-agent uses"));
}

TEST_F(agent_test, keeps_the_old_configuration_when_the_new_one_is_bad) {
  write_config();
  start();
  write_config("[server]\n");
  ::kill(pid, SIGHUP);
  ASSERT_TRUE(test::wait_until(
      [&] { return log().find("not reloaded, the old configuration stays") != std::string::npos; }, enough));
  EXPECT_EQ(describe().databases_size(), 1);
  write_config("[[database]]\ncatalog = \"more\"\npath = \"" + in("more.db") + "\"\n");
  ::kill(pid, SIGHUP);
  ASSERT_TRUE(test::wait_until([&] { return describe().databases_size() == 2; }, enough)) << log();
}

TEST_F(agent_test, a_fence_stops_the_application_and_survives_kill_9) {
  write_config();
  start();
  {
    lease_client host(*stub);
    host.ask({});
    host.until([](const auto& r) { return app_is(r, v1::APPLICATION_STATE_RUNNING); });
    EXPECT_EQ(host.ask(lease_client::fence(1)).right().owner(), v1::RIGHT_OWNER_FAILOVER_HOST);
    host.until([](const auto& r) { return app_is(r, v1::APPLICATION_STATE_STOPPED); });
    const absl::Status refused = control(v1::APPLICATION_COMMAND_START);
    EXPECT_EQ(refused.code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_EQ(rpc::reason_of(refused), "RIGHT_NOT_HELD");
    EXPECT_THAT(std::string(message_of(refused)), HasSubstr("standby stands in"));
    EXPECT_THAT(host.ask(lease_client::grant(1)).error(), HasSubstr("needs a greater one"));
  }
  EXPECT_EQ(stop(SIGKILL), 128 + SIGKILL);
  start();
  EXPECT_EQ(describe().right().epoch(), 1u);
  EXPECT_EQ(control(v1::APPLICATION_COMMAND_START).code(), absl::StatusCode::kFailedPrecondition);

  pid_t application = 0;
  {
    lease_client host(*stub);
    host.ask(lease_client::grant(2));
    application = host.until([](const auto& r) { return app_is(r, v1::APPLICATION_STATE_RUNNING); })
                      .applications(0)
                      .pid();
  }
  EXPECT_EQ(stop(SIGKILL), 128 + SIGKILL);
  EXPECT_EQ(::kill(application, 0), 0) << "the application must outlive its agent";
  start();
  lease_client host(*stub);
  EXPECT_EQ(host.ask({}).applications(0).pid(), application);
  EXPECT_TRUE(control(v1::APPLICATION_COMMAND_STOP).ok());
  EXPECT_TRUE(control(v1::APPLICATION_COMMAND_START).ok());
}

TEST_F(agent_test, an_older_fence_is_refused_with_the_epoch_that_it_lost_to) {
  write_config();
  start();
  lease_client host(*stub);
  EXPECT_EQ(host.ask(lease_client::grant(7)).error(), "");
  for (const std::uint64_t epoch : {5, 7}) {
    const v1::HoldLeaseResponse refused = host.ask(lease_client::fence(epoch));
    EXPECT_NE(refused.error(), "") << epoch;
    EXPECT_EQ(refused.right().epoch(), 7u);
    EXPECT_EQ(refused.right().owner(), v1::RIGHT_OWNER_PRIMARY);
  }
  for (int times = 0; times < 2; ++times) {
    const v1::HoldLeaseResponse fenced = host.ask(lease_client::fence(8));
    EXPECT_EQ(fenced.error(), "");
    EXPECT_EQ(fenced.right().epoch(), 8u);
    EXPECT_EQ(fenced.right().owner(), v1::RIGHT_OWNER_FAILOVER_HOST);
  }
}

TEST_F(agent_test, an_operators_stop_is_not_undone_by_a_grant_that_came_before_it) {
  write_config();
  start();
  lease_client host(*stub);
  host.ask(lease_client::grant(1));
  host.until([](const auto& r) { return app_is(r, v1::APPLICATION_STATE_RUNNING); });
  host.ask(lease_client::grant(1));
  EXPECT_TRUE(control(v1::APPLICATION_COMMAND_STOP).ok());
  // What the stop set off in the gate is through when this is answered, and in the applications after the
  // next.
  host.ask({});
  EXPECT_EQ(control(v1::APPLICATION_COMMAND_STOP, "nobody").code(), absl::StatusCode::kNotFound);
  EXPECT_TRUE(app_is(host.ask({}), v1::APPLICATION_STATE_STOPPED)) << log();
}

// An application that ends only when the test lets it.
TEST_F(agent_test, a_fence_is_answered_at_once_and_followed_by_questions) {
  if (::geteuid() != 0) GTEST_SKIP() << "adds an address to the loopback adapter, which needs root";
  write_config();
  std::string config = content_of(in("agent.toml"));
  const std::string quick = "[\"/bin/sleep\", \"1000\"]";
  config.replace(config.find(quick), quick.size(),
                 "[\"/bin/sh\", \"-c\", \"trap 'until test -e " + in("let-go") +
                     "; do sleep 0.02; done; exit 0' TERM; touch " + in("up") +
                     "; while :; do sleep 0.02; done\"]\nstop_grace = \"60s\"");
  std::ofstream(in("agent.toml")) << config;
  start();
  ASSERT_TRUE(test::wait_until([&] { return std::filesystem::exists(in("up")); }, enough)) << log();
  const std::string address =
      "127.77." + std::to_string(::getpid() / 250 % 250) + "." + std::to_string(::getpid() % 250 + 1);
  lease_client host(*stub);
  v1::HoldLeaseRequest grant = lease_client::grant(1);
  v1::ServiceAddress* added = grant.mutable_grant()->add_service_addresses();
  added->set_address(address);
  added->set_prefix_length(32);
  added->set_adapter("lo");
  EXPECT_EQ(host.ask(grant).error(), "");
  EXPECT_THAT(host.ask({}).held_addresses(), ElementsAre(address));

  const v1::HoldLeaseResponse fenced = host.ask(lease_client::fence(2));
  EXPECT_EQ(fenced.error(), "");
  EXPECT_EQ(fenced.right().owner(), v1::RIGHT_OWNER_FAILOVER_HOST);
  host.until([](const auto& r) { return app_is(r, v1::APPLICATION_STATE_STOPPING); });
  const auto before = std::chrono::steady_clock::now();
  for (int times = 0; times < 20; ++times) {
    const v1::HoldLeaseResponse now = host.ask({});
    EXPECT_TRUE(app_is(now, v1::APPLICATION_STATE_STOPPING));
    EXPECT_THAT(now.held_addresses(), ElementsAre(address)) << "its clients are still served";
  }
  EXPECT_LT(std::chrono::steady_clock::now() - before, 10s) << "not held back by what is being stopped";

  std::ofstream(in("let-go")).flush();
  const v1::HoldLeaseResponse gone = host.until([](const auto& r) { return r.held_addresses().empty(); });
  EXPECT_TRUE(app_is(gone, v1::APPLICATION_STATE_STOPPED)) << "the address goes last";
}

TEST_F(agent_test, a_lease_needs_an_answer_before_it) {
  write_config();
  start();
  lease_client host(*stub);
  v1::HoldLeaseRequest leased = lease_client::grant(1);
  leased.mutable_grant()->mutable_lease()->set_seconds(20);
  EXPECT_THAT(host.ask(leased).error(), HasSubstr("must follow the agent's answer"));
  EXPECT_EQ(host.ask(leased).error(), "");
  EXPECT_EQ(describe().right().epoch(), 1u);
}

TEST_F(agent_test, a_lease_that_ends_stops_the_application) {
  write_config();
  start();
  lease_client host(*stub);
  host.ask({});
  v1::HoldLeaseRequest leased = lease_client::grant(1);
  leased.mutable_grant()->mutable_lease()->set_seconds(6);  // told to stop 5 s before its end
  EXPECT_EQ(host.ask(leased).error(), "");
  host.until([](const auto& r) { return app_is(r, v1::APPLICATION_STATE_RUNNING); });
  host.until([](const auto& r) { return app_is(r, v1::APPLICATION_STATE_STOPPED); });
  host.ask({});  // the lease counts from this answer
  EXPECT_EQ(host.ask(leased).error(), "") << "a renewal opens the gate again";
  host.until([](const auto& r) { return app_is(r, v1::APPLICATION_STATE_RUNNING); });
}

// A failover host that answers the question at boot.
class gate_host final : public v1::Gate::Service {
 public:
  std::atomic<bool> granted{false};
  std::atomic<int> asked{0};
  grpc::Status AskToRun(grpc::ServerContext*, const v1::AskToRunRequest* request,
                        v1::AskToRunResponse* response) override {
    ++asked;
    response->set_nonce(request->nonce());
    response->set_granted(granted);
    response->mutable_right()->set_epoch(7);
    response->mutable_right()->set_owner(granted ? v1::RIGHT_OWNER_PRIMARY : v1::RIGHT_OWNER_FAILOVER_HOST);
    response->mutable_right()->set_owner_name("standby");
    response->set_reason("it stands in");
    return grpc::Status::OK;
  }
};

TEST_F(agent_test, asks_the_host_at_boot_and_obeys_its_answer) {
  gate_host gate;
  rpc::server_options options;
  options.listen = "127.0.0.1:0";
  options.services = {&gate};
  const auto host = rpc::rpc_server::start(options);
  ASSERT_TRUE(host.ok());
  write_config("[host]\naddress = \"127.0.0.1:" + std::to_string((*host)->port()) + "\"\n");
  start();
  ASSERT_TRUE(test::wait_until([&] { return describe().right().epoch() == 7; }, enough)) << log();
  EXPECT_EQ(describe().right().owner(), v1::RIGHT_OWNER_FAILOVER_HOST);
  EXPECT_EQ(recorded_pid(), 0);
  EXPECT_FALSE(std::filesystem::exists(in("state/may-run")));
  stop(SIGTERM);
  std::filesystem::remove_all(in("state"));
  gate.granted = true;
  start();
  ASSERT_TRUE(test::wait_until([&] { return recorded_pid() > 0; }, enough)) << log();
  EXPECT_TRUE(std::filesystem::exists(in("state/may-run")));
}

TEST_F(agent_test, a_flag_that_a_power_cut_left_is_gone_before_it_serves) {
  write_config("[host]\naddress = \"127.0.0.1:9\"\nboot_wait = \"60s\"\n");
  std::filesystem::create_directories(in("state"));
  std::ofstream(in("state/may-run")) << "from the boot before";
  start();
  EXPECT_FALSE(std::filesystem::exists(in("state/may-run"))) << "still asking";
  EXPECT_EQ(recorded_pid(), 0);
  lease_client host(*stub);
  EXPECT_EQ(host.ask(lease_client::grant(1)).error(), "");
  EXPECT_TRUE(std::filesystem::exists(in("state/may-run")));
}

TEST_F(agent_test, silence_at_boot_starts_it_after_its_wait) {
  write_config("[host]\naddress = \"127.0.0.1:9\"\nboot_wait = \"1500ms\"\n");
  start();
  EXPECT_EQ(recorded_pid(), 0);
  ASSERT_TRUE(test::wait_until([&] { return recorded_pid() > 0; }, enough)) << log();
}

}  // namespace
}  // namespace understudy
