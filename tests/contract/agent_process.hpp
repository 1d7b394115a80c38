#pragma once

// The real understudy-agent as a process with one database and one application, and its clients.

#include <fcntl.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sqlite3.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <sstream>

#include "common/rpc/channel.hpp"
#include "common/rpc/rpc_status.hpp"
#include "tests/support/wait.hpp"
#include "understudy/v1/primary_agent.grpc.pb.h"

namespace understudy::test {

inline constexpr std::chrono::seconds enough{20};  // a deadline, never a pause

inline std::string content_of(const std::string& path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

inline std::string query(const std::string& path, const std::string& sql) {
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

struct agent_process : testing::Test {
  std::string directory = [] {
    std::string name = testing::TempDir() + "agent_XXXXXX";
    return std::string(::mkdtemp(name.data()));
  }();
  pid_t pid = 0;
  int port = 0;
  std::shared_ptr<grpc::Channel> channel;
  std::unique_ptr<v1::PrimaryAgent::Stub> stub;

  ~agent_process() override {
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
    const std::string log_path = in("log");
    std::filesystem::remove(log_path);
    // Nothing allocates after the fork: gRPC's threads may hold the allocator's locks.
    const pid_t child = ::fork();
    if (child == 0) {
      const int log = ::open(log_path.c_str(), O_CREAT | O_WRONLY | O_APPEND, 0600);
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
    ASSERT_TRUE(wait_until([&] { return log().find("serves on port ") != std::string::npos; }, enough))
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
  absl::Status control(v1::ApplicationCommand command, const std::string& application = "") const {
    grpc::ClientContext context;
    deadline(context);
    v1::ControlApplicationRequest request;
    request.set_application(application);
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
    EXPECT_TRUE(wait_until(
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

inline bool app_is(const v1::HoldLeaseResponse& response, v1::ApplicationState state) {
  return response.applications_size() == 1 && response.applications(0).state() == state;
}

}  // namespace understudy::test
