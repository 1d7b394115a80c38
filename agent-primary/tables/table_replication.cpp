#include "agent-primary/tables/table_replication.hpp"

#include <grpcpp/server_context.h>
#include <grpcpp/support/sync_stream.h>

#include <optional>
#include <utility>
#include <vector>

#include "agent-primary/tables/table_source.hpp"
#include "common/channel/grpc_status.hpp"
#include "common/channel/source_runner.hpp"
#include "understudy/v1/tables.grpc.pb.h"

namespace understudy::tables {
namespace {

constexpr int most_tables = 1000;

class replicate_call final : public channel::source_stream {
 public:
  using call = grpc::ServerReaderWriter<v1::ReplicateTablesResponse, v1::ReplicateTablesRequest>;
  replicate_call(grpc::ServerContext& context, call& stream, v1::SinkMessage first,
                 std::shared_ptr<saved_traffic> saved)
      : context_(context), call_(stream), first_(std::move(first)), saved_(std::move(saved)) {}

  bool send(v1::SourceMessage message) override {
    v1::ReplicateTablesResponse response;
    if (message.has_heartbeat()) {
      response.mutable_saved()->set_transactions(saved_->transactions);
      response.mutable_saved()->set_bytes(saved_->bytes);
    }
    *response.mutable_message() = std::move(message);
    return call_.Write(response);
  }
  bool receive(v1::SinkMessage& message) override {
    if (first_) {
      message = *std::exchange(first_, std::nullopt);
      return true;
    }
    v1::ReplicateTablesRequest request;
    if (!call_.Read(&request)) return false;
    message = std::move(*request.mutable_message());
    return true;
  }
  void close() override { context_.TryCancel(); }
  absl::Status status() override {
    return context_.IsCancelled() ? absl::CancelledError("the caller went away") : absl::OkStatus();
  }

 private:
  grpc::ServerContext& context_;
  call& call_;
  std::optional<v1::SinkMessage> first_;
  const std::shared_ptr<saved_traffic> saved_;
};

}  // namespace

grpc::Status serve(
    const std::function<absl::StatusOr<std::shared_ptr<channel::database_source>>(const std::string&)>& find,
    grpc::ServerContext& context,
    grpc::ServerReaderWriter<v1::ReplicateTablesResponse, v1::ReplicateTablesRequest>& call) {
  v1::ReplicateTablesRequest first;
  if (!call.Read(&first)) return grpc::Status::OK;
  if (first.tables().empty() || first.tables_size() > most_tables)
    return {grpc::StatusCode::INVALID_ARGUMENT, "name between 1 and 1000 tables"};
  auto whole = find(first.catalog());
  if (!whole.ok()) return channel::to_grpc(whole.status());
  auto saved = std::make_shared<saved_traffic>();
  auto source = std::make_shared<table_source>(
      *std::move(whole), std::vector<std::string>(first.tables().begin(), first.tables().end()), saved);
  replicate_call stream(context, call, std::move(*first.mutable_message()), std::move(saved));
  channel::source_runner runner(std::move(source), stream);
  return channel::to_grpc(runner.run());
}

}  // namespace understudy::tables
