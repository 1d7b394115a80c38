#pragma once

// An agent on loopback that serves one file tree, and a stream to it.

#include <grpcpp/create_channel.h>
#include <grpcpp/server_builder.h>
#include <gtest/gtest.h>

#include <atomic>

#include "agent-failover/replica/tree/files_stream.hpp"
#include "agent-failover/replica/tree/restore_files_service.hpp"
#include "agent-primary/files/files_service.hpp"
#include "tests/support/files_pair.hpp"
#include "tests/support/wait.hpp"
#include "understudy/v1/primary_agent.grpc.pb.h"

namespace understudy::test {

using files::files_progress;

class files_agent final : public v1::PrimaryAgent::Service {
 public:
  grpc::Status ReplicateFiles(
      grpc::ServerContext* context,
      grpc::ServerReaderWriter<v1::ReplicateFilesResponse, v1::ReplicateFilesRequest>* call) override {
    return files::serve(replicate, *context, *call);
  }
  grpc::Status RestoreFiles(
      grpc::ServerContext* context,
      grpc::ServerReaderWriter<v1::RestoreFilesResponse, v1::RestoreFilesRequest>* call) override {
    return files::serve(restore, *context, *call);
  }
  files::replicate_files_service replicate;
  files::restore_files_service restore;
};

class files_grpc : public ::testing::Test {
 protected:
  void SetUp() override {
    service.replicate.find =
        [this](std::uint32_t index) -> absl::StatusOr<std::shared_ptr<files::file_source>> {
      if (index != 0) return absl::NotFoundError("no such tree");
      return pair.source;
    };
    grpc::ServerBuilder builder;
    int port = 0;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
    builder.RegisterService(&service);
    server = builder.BuildAndStart();
    ASSERT_NE(server, nullptr);
    channel = grpc::CreateChannel("127.0.0.1:" + std::to_string(port), grpc::InsecureChannelCredentials());
    pair.start_source();
    auto opened = files::file_tree_sink::open(os::posix_file_system(), pair.sink_options);
    ASSERT_TRUE(opened.ok()) << message_of(opened.status());
    sink = std::move(*opened);
  }
  void TearDown() override {
    stream.reset();
    server->Shutdown(std::chrono::system_clock::now());
  }
  files::files_callbacks callbacks() {
    return {.on_progress = {}, .on_end = [this](const absl::Status& s) {
              code = static_cast<int>(s.code());
              ended = true;
            }};
  }
  bool reach(files_progress::phase phase) {
    return wait_until([&] { return ended || stream->progress().now == phase; }, std::chrono::seconds{30}) &&
           !ended;
  }
  bool becomes_same() {
    return wait_until([&] { return tree_differences(pair.base(), pair.copy()).empty(); },
                      std::chrono::seconds{20});
  }

  file_pair pair;
  files_agent service;
  std::unique_ptr<grpc::Server> server;
  std::shared_ptr<grpc::Channel> channel;
  std::shared_ptr<files::file_tree_sink> sink;
  std::unique_ptr<files::files_stream> stream;
  std::atomic<bool> ended{false};
  std::atomic<int> code{-1};
};

}  // namespace understudy::test
