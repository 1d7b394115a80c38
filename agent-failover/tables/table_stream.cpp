#include "agent-failover/tables/table_stream.hpp"

#include <grpcpp/client_context.h>
#include <grpcpp/support/sync_stream.h>

#include <optional>
#include <thread>
#include <utility>

#include "common/channel/grpc_status.hpp"
#include "common/channel/sink_runner.hpp"
#include "understudy/v1/tables.grpc.pb.h"

namespace understudy::tables {
namespace {

class table_call final : public channel::message_stream<v1::SinkMessage, v1::SourceMessage> {
 public:
  table_call(const std::shared_ptr<grpc::ChannelInterface>& channel, std::string catalog,
             std::vector<std::string> tables, std::function<void(const saved_traffic&)> on_saved)
      : stub_(v1::TableReplication::NewStub(channel)), on_saved_(std::move(on_saved)) {
    first_.emplace();
    first_->set_catalog(std::move(catalog));
    for (std::string& table : tables) first_->add_tables(std::move(table));
  }
  void open() { call_ = stub_->ReplicateTables(&context_); }

  bool send(v1::SinkMessage message) override {
    v1::ReplicateTablesRequest request;
    if (first_) request = *std::exchange(first_, std::nullopt);
    *request.mutable_message() = std::move(message);
    return call_->Write(request);
  }
  bool receive(v1::SourceMessage& message) override {
    v1::ReplicateTablesResponse response;
    if (!call_->Read(&response)) return false;
    if (response.has_saved() && on_saved_)
      on_saved_({.transactions = response.saved().transactions(), .bytes = response.saved().bytes()});
    message = std::move(*response.mutable_message());
    return true;
  }
  void close() override { context_.TryCancel(); }
  absl::Status status() override {
    if (!status_) status_ = channel::from_grpc(call_->Finish());
    return *status_;
  }

 private:
  grpc::ClientContext context_;
  const std::unique_ptr<v1::TableReplication::Stub> stub_;
  std::unique_ptr<grpc::ClientReaderWriter<v1::ReplicateTablesRequest, v1::ReplicateTablesResponse>> call_;
  std::optional<v1::ReplicateTablesRequest> first_;
  const std::function<void(const saved_traffic&)> on_saved_;
  std::optional<absl::Status> status_;
};

class table_stream final : public channel::database_stream {
 public:
  table_stream(const std::shared_ptr<grpc::ChannelInterface>& channel, std::string catalog,
               std::vector<std::string> tables, std::shared_ptr<channel::database_sink> sink,
               channel::stream_callbacks callbacks, std::function<void(const saved_traffic&)> on_saved)
      : call_(channel, std::move(catalog), std::move(tables), std::move(on_saved)),
        sink_(std::move(sink)),
        runner_(*sink_, call_, std::move(callbacks.on_progress)),
        thread_([this, on_end = std::move(callbacks.on_end)] {
          call_.open();
          const absl::Status status = runner_.run();
          if (on_end) on_end(status);
        }) {}
  ~table_stream() override {
    runner_.stop();
    thread_.join();
  }
  void drain() override { runner_.drain(); }
  void stop() override { runner_.stop(); }
  channel::database_progress progress() const override { return runner_.progress(); }

 private:
  table_call call_;
  const std::shared_ptr<channel::database_sink> sink_;
  channel::sink_runner runner_;
  std::thread thread_;
};

}  // namespace

std::unique_ptr<channel::database_stream> start_table_replication(
    std::shared_ptr<grpc::ChannelInterface> channel, std::string catalog, std::vector<std::string> tables,
    std::shared_ptr<channel::database_sink> sink, channel::stream_callbacks callbacks,
    std::function<void(const saved_traffic&)> on_saved) {
  return std::make_unique<table_stream>(channel, std::move(catalog), std::move(tables), std::move(sink),
                                        std::move(callbacks), std::move(on_saved));
}

}  // namespace understudy::tables
