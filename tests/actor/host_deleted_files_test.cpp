// Deleted files, asked for over gRPC of a whole daemon.

#include <fmt/core.h>
#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <fstream>

#include "agent-failover/actors/root.hpp"
#include "agent-failover/api/supervisor_service.hpp"
#include "common/rpc/rpc_status.hpp"
#include "common/status/status_text.hpp"
#include "tests/support/temporary_directory.hpp"

namespace understudy::test {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

class host_deleted_files : public ::testing::Test {
 protected:
  void SetUp() override {
    auto started =
        actors::root::start({.data_dir = directory_.path() + "/data", .host_name = "b", .host_address = ""});
    ASSERT_TRUE(started.ok()) << message_of(started.status());
    daemon_ = *std::move(started);
    v1::ServerSpec spec;
    spec.set_name("pbx");
    spec.set_address("127.0.0.1");
    spec.set_port(1);
    spec.add_files()->set_base("/srv/vm");
    spec.add_files()->set_base("/srv/fax");
    const absl::Status added = daemon_->add_server(spec);
    ASSERT_TRUE(added.ok()) << message_of(added);
    service_ = std::make_unique<api::supervisor_service>(*daemon_, daemon_->board());
    grpc::ServerBuilder builder;
    builder.RegisterService(service_.get());
    server_ = builder.BuildAndStart();
    stub_ = v1::Supervisor::NewStub(server_->InProcessChannel({}));
    fs::create_directories(directory_.path() + "/to");
  }
  void TearDown() override {
    if (server_) server_->Shutdown();
  }

  // As the copy's trash has it.
  void put(int tree, const std::string& version, const std::string& path, const std::string& content) {
    const fs::path file = fmt::format("{}/data/servers/pbx/.understudy-trash/files-{}/{}/{}",
                                      directory_.path(), tree, version, path);
    fs::create_directories(file.parent_path());
    std::ofstream(file, std::ios::binary) << content;
  }
  v1::ListDeletedFilesResponse list(const v1::ListDeletedFilesRequest& request) {
    grpc::ClientContext context;
    v1::ListDeletedFilesResponse listed;
    status_ = stub_->ListDeletedFiles(&context, request, &listed);
    return listed;
  }
  std::string restore(const v1::RestoreDeletedFileRequest& request) {
    grpc::ClientContext context;
    v1::RestoreDeletedFileResponse restored;
    status_ = stub_->RestoreDeletedFile(&context, request, &restored);
    return restored.effect();
  }
  std::string to(const std::string& name) const { return directory_.path() + "/to/" + name; }
  static std::string content(const std::string& file) {
    std::ifstream in(file, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }

  temporary_directory directory_;
  std::unique_ptr<actors::root> daemon_;
  std::unique_ptr<api::supervisor_service> service_;
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<v1::Supervisor::Stub> stub_;
  grpc::Status status_;
};

TEST_F(host_deleted_files, are_listed_in_bounds) {
  put(0, "29000000", "inbox/one\ntwo\xff", "hello");
  put(1, "29000001.1", "fax", "1");
  v1::ListDeletedFilesRequest request;
  request.set_server("pbx");
  auto listed = list(request);
  ASSERT_TRUE(status_.ok()) << status_.error_message();
  ASSERT_EQ(listed.files_size(), 2);
  EXPECT_FALSE(listed.more());
  EXPECT_EQ(listed.files(0).path(), "inbox/one\ntwo\xff");
  EXPECT_EQ(listed.files(0).base(), "/srv/vm");
  EXPECT_EQ(listed.files(0).size(), 5U);
  EXPECT_EQ(listed.files(0).deleted_at().seconds(), std::int64_t{29000000} * 60);
  EXPECT_GT(listed.files(0).modified_at().seconds(), 0);
  EXPECT_EQ(listed.files(1).version(), "29000001.1");

  request.set_limit(1);
  listed = list(request);
  EXPECT_EQ(listed.files_size(), 1);
  EXPECT_TRUE(listed.more());
  request.set_base("/srv/fax");
  listed = list(request);
  ASSERT_EQ(listed.files_size(), 1);
  EXPECT_EQ(listed.files(0).path(), "fax");
  EXPECT_FALSE(listed.more());

  request.set_base("/srv/none");
  list(request);
  EXPECT_EQ(status_.error_code(), grpc::StatusCode::NOT_FOUND);
  request.clear_base();
  request.set_under("../..");
  list(request);
  EXPECT_EQ(status_.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  request.set_server("nobody");
  list(request);
  EXPECT_EQ(rpc::reason_of(rpc::from_grpc(status_)), "NO_SUCH_SERVER");
}

TEST_F(host_deleted_files, are_written_to_a_new_file_outside_of_every_copy) {
  put(0, "29000000", "a", "hello");
  v1::RestoreDeletedFileRequest request;
  request.set_server("pbx");
  request.set_path("a");
  request.set_to(to("a"));
  request.set_dry_run(true);
  EXPECT_THAT(restore(request), HasSubstr("/srv/vm"));
  EXPECT_FALSE(fs::exists(to("a")));
  request.set_dry_run(false);
  restore(request);
  ASSERT_TRUE(status_.ok()) << status_.error_message();
  EXPECT_EQ(content(to("a")), "hello");

  restore(request);
  EXPECT_EQ(status_.error_code(), grpc::StatusCode::ALREADY_EXISTS);
  fs::create_directory_symlink(directory_.path() + "/data/servers/pbx", to("in"));
  for (const std::string& place :
       {std::string(), std::string("relative"), to("none/b"), to(".."), to("in/b"),
        directory_.path() + "/data/servers/pbx/b", directory_.path() + "/data/b"}) {
    request.set_to(place);
    restore(request);
    EXPECT_EQ(status_.error_code(), grpc::StatusCode::INVALID_ARGUMENT) << place;
  }
  EXPECT_FALSE(fs::exists(directory_.path() + "/data/servers/pbx/b"));

  request.set_to(to("b"));
  for (const char* path : {"", "../a", "/a"}) {
    request.set_path(path);
    restore(request);
    EXPECT_EQ(status_.error_code(), grpc::StatusCode::INVALID_ARGUMENT) << path;
  }
  request.set_path("b");
  restore(request);
  EXPECT_EQ(status_.error_code(), grpc::StatusCode::NOT_FOUND);
  request.set_path("a");
  request.mutable_at()->set_seconds(-1);
  restore(request);
  EXPECT_EQ(status_.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_FALSE(fs::exists(to("b")));
}

TEST_F(host_deleted_files, of_one_path_in_two_trees_need_the_base) {
  put(0, "29000000", "a", "vm");
  put(1, "29000000", "a", "fax");
  v1::RestoreDeletedFileRequest request;
  request.set_server("pbx");
  request.set_path("a");
  request.set_to(to("a"));
  restore(request);
  EXPECT_EQ(status_.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(status_.error_message(), HasSubstr("/srv/fax"));
  request.set_base("/srv/fax");
  restore(request);
  ASSERT_TRUE(status_.ok()) << status_.error_message();
  EXPECT_EQ(content(to("a")), "fax");
}

}  // namespace
}  // namespace understudy::test
