// The real understudy-agent as a process, over real databases and applications, met as its clients meet it.

#include <fcntl.h>
#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sqlite3.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <future>
#include <sstream>

#include "agent-failover/replica/database_copy.hpp"
#include "agent-primary/capture/capture_engine.hpp"
#include "common/channel/database_streams.hpp"
#include "common/channel/wire.hpp"
#include "common/os/file_system.hpp"
#include "common/rpc/channel.hpp"
#include "common/rpc/rpc_server.hpp"
#include "common/rpc/rpc_status.hpp"
#include "common/status/status_text.hpp"
#include "grpc/reflection/v1/reflection.grpc.pb.h"
#include "tests/support/wait.hpp"
#include "understudy/v1/gate.grpc.pb.h"
#include "understudy/v1/primary_agent.grpc.pb.h"

namespace understudy {
namespace {

using namespace std::chrono_literals;
using testing::Contains;
using testing::HasSubstr;

constexpr auto enough = 20s;  // a deadline, never a pause

std::string content_of(const std::string& path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

std::string query(const std::string& path, const std::string& sql) {
  sqlite3* database = nullptr;
  EXPECT_EQ(sqlite3_open(path.c_str(), &database), SQLITE_OK);
  sqlite3_busy_timeout(database, 5000);
  std::string result;
  char* error = nullptr;
  sqlite3_exec(
      database, sql.c_str(),
      [](void* out, int count, char** values, char**) {
        for (int i = 0; i < count; ++i)
          *static_cast<std::string*>(out) += std::string(values[i] ? values[i] : "NULL") + ";";
        return 0;
      },
      &result, &error);
  EXPECT_EQ(error, nullptr) << error << " in " << sql;
  sqlite3_free(error);
  sqlite3_close(database);
  return result;
}

struct agent_test : testing::Test {
  std::string directory = [] {
    std::string name = testing::TempDir() + "agent_XXXXXX";
    return std::string(::mkdtemp(name.data()));
  }();
  pid_t pid = 0;
  int port = 0;
  std::shared_ptr<grpc::Channel> channel;
  std::unique_ptr<v1::PrimaryAgent::Stub> stub;

  ~agent_test() override {
    stop(SIGTERM);
    // Applications outlive the agent; here they must not outlive the test.
    if (const pid_t left = recorded_pid(); left > 1) ::kill(-left, SIGKILL);
    std::filesystem::remove_all(directory);
  }

  std::string in(const std::string& name) const { return directory + "/" + name; }
  pid_t recorded_pid() const {
    pid_t result = 0;
    std::istringstream(content_of(in("state/applications/app.run"))) >> result;
    return result;
  }

  void write_config(const std::string& more = "") const {
    std::ofstream(in("agent.toml"))
        << "[server]\nname = \"p1\"\nlisten = \"127.0.0.1:0\"\nstate_dir = \"" << in("state")
        << "\"\n[[database]]\ncatalog = \"main\"\npath = \"" << in("main.db")
        << "\"\n[[application]]\nname = \"app\"\nstart = [\"/bin/sleep\", \"1000\"]\nversion = "
           "[\"/bin/echo\", \"app 1.2\"]\n"
        << more;
  }

  // Runs the program to its end, or returns at once with `pid` set.
  int run(const std::vector<std::string>& arguments, bool wait) {
    std::vector<char*> words{const_cast<char*>(UNDERSTUDY_AGENT)};
    for (const std::string& a : arguments) words.push_back(const_cast<char*>(a.c_str()));
    words.push_back(nullptr);
    std::filesystem::remove(in("log"));
    const pid_t child = ::fork();
    if (child == 0) {
      const int log = ::open(in("log").c_str(), O_CREAT | O_WRONLY | O_APPEND, 0600);
      ::dup2(log, 1);
      ::dup2(log, 2);
      ::execv(UNDERSTUDY_AGENT, words.data());
      ::_exit(127);
    }
    pid = child;
    return wait ? ended() : 0;
  }
  int ended() {
    int status = 0;
    ::waitpid(std::exchange(pid, 0), &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }
  int stop(int signal) {
    if (pid == 0) return 0;
    ::kill(pid, signal);
    return ended();
  }
  std::string log() const { return content_of(in("log")); }

  void start() {
    run({"--config", in("agent.toml")}, false);
    ASSERT_TRUE(test::wait_until([&] { return log().find("serves on port ") != std::string::npos; }, enough))
        << log();
    const std::string text = log();
    std::istringstream(text.substr(text.find("serves on port ") + 15)) >> port;
    channel = rpc::make_channel("127.0.0.1:" + std::to_string(port));
    stub = v1::PrimaryAgent::NewStub(channel);
  }

  static void deadline(grpc::ClientContext& context) {
    context.set_deadline(std::chrono::system_clock::now() + enough);
  }
  v1::DescribeResponse describe() const {
    grpc::ClientContext context;
    deadline(context);
    v1::DescribeResponse response;
    const grpc::Status status = stub->Describe(&context, {}, &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return response;
  }
  v1::TestDatabaseResponse test_database(const std::string& path) const {
    grpc::ClientContext context;
    deadline(context);
    v1::TestDatabaseRequest request;
    request.set_path(path);
    v1::TestDatabaseResponse response;
    EXPECT_TRUE(stub->TestDatabase(&context, request, &response).ok());
    return response;
  }
  absl::Status control(v1::ApplicationCommand command) const {
    grpc::ClientContext context;
    deadline(context);
    v1::ControlApplicationRequest request;
    request.set_command(command);
    v1::ControlApplicationResponse response;
    return rpc::from_grpc(stub->ControlApplication(&context, request, &response));
  }
};

// The host's end of HoldLease.
struct lease_client {
  explicit lease_client(v1::PrimaryAgent::Stub& stub) {
    context.set_deadline(std::chrono::system_clock::now() + 2 * enough);
    stream = stub.HoldLease(&context);
  }
  ~lease_client() { context.TryCancel(); }

  grpc::ClientContext context;
  std::unique_ptr<grpc::ClientReaderWriter<v1::HoldLeaseRequest, v1::HoldLeaseResponse>> stream;
  std::uint64_t nonce = 0;

  v1::HoldLeaseResponse ask(v1::HoldLeaseRequest request) {
    request.set_nonce(++nonce);
    request.set_host_address("127.0.0.1:9");
    request.set_server("p1");
    EXPECT_TRUE(stream->Write(request));
    v1::HoldLeaseResponse response;
    do EXPECT_TRUE(stream->Read(&response));
    while (response.nonce() != nonce && !testing::Test::HasFailure());
    return response;
  }
  // Asks until it is so. (News that came before the last answer was dropped by ask().)
  v1::HoldLeaseResponse until(const std::function<bool(const v1::HoldLeaseResponse&)>& good) {
    v1::HoldLeaseResponse response;
    EXPECT_TRUE(test::wait_until(
        [&] {
          response = ask({});
          return good(response) || testing::Test::HasFailure();
        },
        enough));
    return response;
  }
  static v1::HoldLeaseRequest fence(std::uint64_t epoch) {
    v1::HoldLeaseRequest request;
    request.mutable_fence()->set_epoch(epoch);
    request.mutable_fence()->set_owner("standby");
    request.mutable_fence()->set_reason("a test");
    return request;
  }
  static v1::HoldLeaseRequest grant(std::uint64_t epoch) {
    v1::HoldLeaseRequest request;
    request.mutable_grant()->set_epoch(epoch);
    request.mutable_grant()->set_start_applications(true);
    return request;
  }
};

bool app_is(const v1::HoldLeaseResponse& response, v1::ApplicationState state) {
  return response.applications_size() == 1 && response.applications(0).state() == state;
}

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
  EXPECT_EQ(second_place.run({"--config", second_place.in("agent.toml")}, true), 1);
  EXPECT_THAT(second_place.log(), HasSubstr("Address already in use"));
  EXPECT_FALSE(std::filesystem::exists(second_place.in("state/applications/app.run")));

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

TEST_F(agent_test, silence_at_boot_starts_it_after_its_wait) {
  write_config("[host]\naddress = \"127.0.0.1:9\"\nboot_wait = \"1500ms\"\n");
  start();
  EXPECT_EQ(recorded_pid(), 0);
  ASSERT_TRUE(test::wait_until([&] { return recorded_pid() > 0; }, enough)) << log();
}

// The copy on a failover host, filled over the wire.
struct copied {
  explicit copied(const std::string& directory)
      : copy(*replica::database_copy::open(*os::posix_file_system().open_root(directory), "main.db")) {}
  std::shared_ptr<replica::database_copy> copy;

  absl::Status replicate(std::shared_ptr<grpc::Channel> channel) {
    std::promise<absl::Status> ended;
    std::atomic<bool> drained{false};
    channel::stream_callbacks callbacks;
    callbacks.on_progress = [&](const channel::database_progress& p) {
      if (p.now == channel::database_progress::phase::drained) drained = true;
    };
    callbacks.on_end = [&](const absl::Status& status) { ended.set_value(status); };
    const auto stream = channel::start_database_replication(channel, "main", copy, callbacks);
    stream->drain();
    EXPECT_TRUE(test::wait_until([&] { return drained.load(); }, enough));
    stream->stop();
    return ended.get_future().get();
  }
  v1::DatabaseImage image() const {
    v1::DatabaseImage result;
    const channel::sink_state state = copy->state();
    result.set_exists(state.exists);
    result.set_page_size(state.page_size);
    result.set_pages(state.database_pages);
    channel::to_wire(state.combined, result.mutable_hash());
    return result;
  }
};

struct agent_failback_test : agent_test {
  v1::DatabaseImage base;
  std::unique_ptr<capture::capture_engine> engine;
  std::shared_ptr<channel::database_source> source;

  // Copied, fenced, and then written to by a stand-in.
  void take_over() {
    query(in("main.db"), "pragma journal_mode = wal; create table t(x); insert into t values ('before')");
    ::chmod(in("main.db").c_str(), 0604);
    write_config();
    start();
    std::filesystem::create_directories(in("copy"));
    {
      copied host(in("copy"));
      const absl::Status replicated = host.replicate(channel);
      ASSERT_TRUE(replicated.ok() || absl::IsCancelled(replicated)) << message_of(replicated);
      base = host.image();
      ASSERT_TRUE(host.copy->prepare_for_stand_in().ok());
    }
    EXPECT_EQ(query(in("copy/main.db"), "select x from t"), "before;");
    lease_client host(*stub);
    host.ask(lease_client::fence(1));
    ASSERT_TRUE(test::wait_until(
        [&] { return host.ask({}).applications(0).state() == v1::APPLICATION_STATE_STOPPED; }, enough));
    query(in("copy/main.db"), "insert into t values ('stand-in')");
    engine = *capture::capture_engine::start({.real_time = false});
    source = engine->add(in("copy/main.db"));
    ASSERT_TRUE(
        test::wait_until([&] { return source->state().now == channel::source_state::phase::ready; }, enough));
  }

  absl::StatusOr<v1::Adopted> restore(v1::DivergedChoice choice, std::uint64_t epoch = 1) {
    std::promise<absl::Status> ended;
    std::atomic<bool> over{false};
    std::atomic<bool> drained{false};
    channel::stream_callbacks callbacks;
    callbacks.on_progress = [&](const channel::database_progress& p) {
      if (p.now == channel::database_progress::phase::drained) drained = true;
    };
    callbacks.on_end = [&](const absl::Status& status) {
      over = true;
      ended.set_value(status);
    };
    const auto stream = channel::start_database_restore(channel, "main", epoch, source, callbacks);
    stream->drain();
    EXPECT_TRUE(test::wait_until([&] { return drained || over; }, enough));
    if (!drained) return ended.get_future().get();
    v1::AdoptImage adopt;
    const channel::source_state state = source->state();
    adopt.mutable_image()->set_exists(true);
    adopt.mutable_image()->set_page_size(state.page_size);
    adopt.mutable_image()->set_pages(state.database_pages);
    channel::to_wire(state.combined, adopt.mutable_image()->mutable_hash());
    *adopt.mutable_base() = base;
    adopt.set_choice(choice);
    auto answer = std::make_shared<std::promise<absl::StatusOr<v1::Adopted>>>();
    stream->adopt(adopt, [answer](const absl::StatusOr<v1::Adopted>& a) { answer->set_value(a); });
    absl::StatusOr<v1::Adopted> result = answer->get_future().get();
    ended.get_future().wait();
    return result;
  }
};

TEST_F(agent_failback_test, brings_the_stand_ins_data_back) {
  take_over();
  const absl::StatusOr<v1::Adopted> adopted = restore(v1::DIVERGED_CHOICE_UNSPECIFIED);
  ASSERT_TRUE(adopted.ok()) << message_of(adopted.status()) << log();
  EXPECT_FALSE(adopted->diverged());
  EXPECT_EQ(query(in("main.db"), "select x from t"), "before;stand-in;");
  EXPECT_EQ(std::filesystem::status(in("main.db")).permissions(), std::filesystem::perms{0604});
  EXPECT_FALSE(std::filesystem::exists(in("main.db.understudy-incoming")));
}

TEST_F(agent_failback_test, an_answer_that_was_lost_is_given_again) {
  take_over();
  ASSERT_TRUE(restore(v1::DIVERGED_CHOICE_UNSPECIFIED).ok());
  const absl::StatusOr<v1::Adopted> again = restore(v1::DIVERGED_CHOICE_UNSPECIFIED);
  ASSERT_TRUE(again.ok()) << message_of(again.status());
  EXPECT_FALSE(again->diverged());
  EXPECT_EQ(query(in("main.db"), "select x from t"), "before;stand-in;");
}

TEST_F(agent_failback_test, diverged_data_needs_a_choice_and_is_kept) {
  take_over();
  query(in("main.db"), "insert into t values ('only here')");
  const absl::StatusOr<v1::Adopted> undecided = restore(v1::DIVERGED_CHOICE_UNSPECIFIED);
  EXPECT_EQ(undecided.status().code(), absl::StatusCode::kFailedPrecondition)
      << message_of(undecided.status());
  EXPECT_EQ(query(in("main.db"), "select x from t"), "before;only here;")
      << "nothing may change without a choice";

  const absl::StatusOr<v1::Adopted> adopted = restore(v1::DIVERGED_CHOICE_DISCARD_PRIMARY);
  ASSERT_TRUE(adopted.ok()) << message_of(adopted.status());
  EXPECT_TRUE(adopted->diverged());
  EXPECT_EQ(query(in("main.db"), "select x from t"), "before;stand-in;");
  EXPECT_EQ(query(adopted->set_aside() + "/main.db", "select x from t"), "before;only here;");
}

TEST_F(agent_failback_test, the_primarys_data_may_win) {
  take_over();
  query(in("main.db"), "insert into t values ('only here')");
  const absl::StatusOr<v1::Adopted> adopted = restore(v1::DIVERGED_CHOICE_KEEP_PRIMARY);
  ASSERT_TRUE(adopted.ok()) << message_of(adopted.status());
  EXPECT_EQ(query(in("main.db"), "select x from t"), "before;only here;");
  EXPECT_EQ(query(adopted->set_aside() + "/main.db", "select x from t"), "before;stand-in;");
}

TEST_F(agent_failback_test, a_restore_is_refused_unless_fenced_under_this_epoch) {
  take_over();
  EXPECT_EQ(restore(v1::DIVERGED_CHOICE_UNSPECIFIED, 2).status().code(),
            absl::StatusCode::kFailedPrecondition);
  lease_client host(*stub);
  host.ask(lease_client::grant(2));
  EXPECT_EQ(restore(v1::DIVERGED_CHOICE_UNSPECIFIED, 1).status().code(),
            absl::StatusCode::kFailedPrecondition);
}

}  // namespace
}  // namespace understudy
