#include "common/channel/database_service.hpp"

#include <grpcpp/server_context.h>
#include <grpcpp/support/sync_stream.h>

#include <condition_variable>
#include <mutex>
#include <optional>
#include <stop_token>
#include <thread>
#include <utility>

#include "common/channel/grpc_status.hpp"
#include "common/channel/sink_runner.hpp"
#include "common/channel/source_runner.hpp"
#include "understudy/v1/primary_agent.grpc.pb.h"

namespace understudy::channel {
namespace {

template <class Response, class Request, class Out, class In>
class server_call : public message_stream<Out, In> {
 public:
  using call = grpc::ServerReaderWriter<Response, Request>;
  server_call(grpc::ServerContext& context, call& stream) : context_{context}, call_{stream} {}

  bool send(Out message) override {
    Response response;
    *response.mutable_message() = std::move(message);
    return call_.Write(response);
  }
  void close() override { context_.TryCancel(); }
  absl::Status status() override {
    return context_.IsCancelled() ? absl::CancelledError("the caller went away") : absl::OkStatus();
  }

 protected:
  grpc::ServerContext& context_;
  call& call_;
};

class replicate_call final : public server_call<v1::ReplicateDatabaseResponse, v1::ReplicateDatabaseRequest,
                                                v1::SourceMessage, v1::SinkMessage> {
 public:
  replicate_call(grpc::ServerContext& context, call& stream, v1::SinkMessage first)
      : server_call{context, stream}, first_{std::move(first)} {}

  bool receive(v1::SinkMessage& message) override {
    if (first_) {
      message = *std::exchange(first_, std::nullopt);
      return true;
    }
    v1::ReplicateDatabaseRequest request;
    if (!call_.Read(&request)) return false;
    message = std::move(*request.mutable_message());
    return true;
  }

 private:
  std::optional<v1::SinkMessage> first_;
};

class restore_call final : public server_call<v1::RestoreDatabaseResponse, v1::RestoreDatabaseRequest,
                                              v1::SinkMessage, v1::SourceMessage> {
 public:
  using server_call::server_call;

  bool receive(v1::SourceMessage& message) override {
    v1::RestoreDatabaseRequest request;
    if (!call_.Read(&request)) return false;
    if (request.has_adopt()) {
      // The last request: what follows is done by the call's own thread, once everything before it is
      // applied.
      adopt = std::move(*request.mutable_adopt());
      return false;
    }
    message = std::move(*request.mutable_message());
    return true;
  }

  std::optional<v1::AdoptImage> adopt;
};

constexpr std::chrono::seconds WORK_REPORT{1};  // a caller gives up after a minute without one

// Says once a second that the agent is at work, and on what. Nothing else may be sent meanwhile.
class work_reporter {
 public:
  using call = grpc::ServerReaderWriter<v1::RestoreDatabaseResponse, v1::RestoreDatabaseRequest>;
  work_reporter(grpc::ServerContext& context, call& stream) : context_{context}, call_{stream} {}

  bool tell(const restore_work& now) {
    const std::lock_guard lock{mutex_};
    now_ = now;
    return !context_.IsCancelled();
  }

  template <class Work>
  auto during(const Work& work) {
    const std::jthread reporter{[this](const std::stop_token& over) {
      for (;;) {
        v1::RestoreDatabaseResponse response;
        {
          std::unique_lock lock{mutex_};
          if (over_.wait_for(lock, over, WORK_REPORT, [] { return false; }) || over.stop_requested()) return;
          response.mutable_work()->set_what(now_.what);
          response.mutable_work()->set_bytes_done(now_.bytes_done);
          response.mutable_work()->set_bytes_total(now_.bytes_total);
        }
        if (!call_.Write(response)) return;
      }
    }};
    return work();
  }

 private:
  grpc::ServerContext& context_;
  call& call_;
  std::mutex mutex_;
  std::condition_variable_any over_;
  restore_work now_;
};

std::function<void(const database_progress&)> listener_of(
    const std::function<void(const std::string&, const database_progress&)>& listener,
    const std::string& catalog) {
  if (!listener) return {};
  return [listener, catalog](const database_progress& progress) { listener(catalog, progress); };
}

}  // namespace

grpc::Status serve(
    const replicate_database_service& service, grpc::ServerContext& context,
    grpc::ServerReaderWriter<v1::ReplicateDatabaseResponse, v1::ReplicateDatabaseRequest>& call) {
  v1::ReplicateDatabaseRequest first;
  if (!call.Read(&first)) return grpc::Status::OK;
  auto source = service.find(first.catalog());
  if (!source.ok()) return to_grpc(source.status());
  replicate_call stream{context, call, std::move(*first.mutable_message())};
  source_runner runner{*std::move(source), stream, listener_of(service.on_progress, first.catalog())};
  return to_grpc(runner.run());
}

grpc::Status serve(const restore_database_service& service, grpc::ServerContext& context,
                   grpc::ServerReaderWriter<v1::RestoreDatabaseResponse, v1::RestoreDatabaseRequest>& call) {
  v1::RestoreDatabaseRequest first;
  if (!call.Read(&first)) return grpc::Status::OK;
  work_reporter reporter{context, call};
  auto restore = reporter.during([&] {
    return service.begin(first, [&reporter](const restore_work& now) { return reporter.tell(now); });
  });
  if (!restore.ok()) return to_grpc(restore.status());
  restore_call stream{context, call};
  sink_runner runner{(*restore)->sink(), stream, listener_of(service.on_progress, first.catalog())};
  const absl::Status status = runner.run();
  if (!status.ok() || !stream.adopt) return to_grpc(status);
  if (runner.progress().now != database_progress::phase::drained) {
    return to_grpc(rpc::with_reason(absl::AbortedError("adopt before the image was drained"), "NOT_DRAINED"));
  }
  auto adopted = reporter.during([&] { return (*restore)->adopt(*stream.adopt); });
  if (!adopted.ok()) return to_grpc(adopted.status());
  v1::RestoreDatabaseResponse response;
  *response.mutable_adopted() = *std::move(adopted);
  call.Write(response);
  return grpc::Status::OK;
}

}  // namespace understudy::channel
