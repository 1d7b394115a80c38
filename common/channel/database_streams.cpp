#include "common/channel/database_streams.hpp"

#include <grpcpp/client_context.h>
#include <grpcpp/support/sync_stream.h>

#include <mutex>
#include <optional>
#include <thread>
#include <utility>

#include "common/channel/grpc_status.hpp"
#include "common/channel/sink_runner.hpp"
#include "common/channel/source_runner.hpp"
#include "understudy/v1/primary_agent.grpc.pb.h"

namespace understudy::channel {
namespace {

// A call as a message_stream. The derived classes put our messages into the call's.
template <class Request, class Response, class Out, class In>
class client_call : public message_stream<Out, In> {
 public:
  using call = grpc::ClientReaderWriter<Request, Response>;

  void close() override { context_.TryCancel(); }
  absl::Status status() override {
    if (!status_) status_ = from_grpc(call_->Finish());
    return *status_;
  }

 protected:
  bool write(const Request& request) {
    const std::lock_guard lock{writing_};  // adopt() writes beside the session
    return call_->Write(request);
  }

  grpc::ClientContext context_;
  std::unique_ptr<v1::PrimaryAgent::Stub> stub_;
  std::unique_ptr<call> call_;

 private:
  std::mutex writing_;
  std::optional<absl::Status> status_;
};

class replicate_call final : public client_call<v1::ReplicateDatabaseRequest, v1::ReplicateDatabaseResponse,
                                                v1::SinkMessage, v1::SourceMessage> {
 public:
  replicate_call(const std::shared_ptr<grpc::ChannelInterface>& channel, std::string catalog)
      : catalog_{std::move(catalog)} {
    stub_ = v1::PrimaryAgent::NewStub(channel);
  }
  void open() { call_ = stub_->ReplicateDatabase(&context_); }

  bool send(v1::SinkMessage message) override {
    v1::ReplicateDatabaseRequest request;
    request.set_catalog(std::exchange(catalog_, {}));
    *request.mutable_message() = std::move(message);
    return write(request);
  }
  bool receive(v1::SourceMessage& message) override {
    v1::ReplicateDatabaseResponse response;
    if (!call_->Read(&response)) return false;
    message = std::move(*response.mutable_message());
    return true;
  }

 private:
  std::string catalog_;  // for the first message
};

class restore_call final : public client_call<v1::RestoreDatabaseRequest, v1::RestoreDatabaseResponse,
                                              v1::SourceMessage, v1::SinkMessage> {
 public:
  using answer = std::function<void(const absl::StatusOr<v1::Adopted>&)>;

  restore_call(const std::shared_ptr<grpc::ChannelInterface>& channel, std::string catalog, std::string path,
               std::uint64_t epoch, std::function<void(const restore_work&)> on_work)
      : on_work_{std::move(on_work)} {
    stub_ = v1::PrimaryAgent::NewStub(channel);
    first_.set_catalog(std::move(catalog));
    first_.set_path(std::move(path));
    first_.set_epoch(epoch);
  }
  void open() {
    call_ = stub_->RestoreDatabase(&context_);
    write(first_);  // the agent needs the catalog before it can say what it has
  }

  bool send(v1::SourceMessage message) override {
    v1::RestoreDatabaseRequest request;
    *request.mutable_message() = std::move(message);
    return write(request);
  }
  bool receive(v1::SinkMessage& message) override {
    v1::RestoreDatabaseResponse response;
    do {
      if (!call_->Read(&response)) return false;
      if (response.has_work() && on_work_) {
        on_work_({response.work().what(), response.work().bytes_done(), response.work().bytes_total()});
      }
    } while (response.has_work());
    if (response.has_adopted()) {
      give(response.adopted());
      return false;
    }
    message = std::move(*response.mutable_message());
    return true;
  }

  void adopt(const v1::AdoptImage& image, answer on_answer) {
    {
      const std::lock_guard lock{mutex_};
      if (!ended_ && !on_answer_) on_answer_ = std::exchange(on_answer, nullptr);
    }
    if (on_answer) {
      on_answer(absl::FailedPreconditionError("the stream has ended, or an adoption is under way"));
      return;
    }
    v1::RestoreDatabaseRequest request;
    *request.mutable_adopt() = image;
    write(request);
  }
  // The stream is over: an adoption that was not answered has failed.
  void end(const absl::Status& status) {
    {
      const std::lock_guard lock{mutex_};
      ended_ = true;
    }
    give(status.ok() ? absl::UnavailableError("the agent closed the stream before it answered") : status);
  }

 private:
  void give(const absl::StatusOr<v1::Adopted>& result) {
    answer on_answer;
    {
      const std::lock_guard lock{mutex_};
      on_answer = std::exchange(on_answer_, nullptr);
    }
    if (on_answer) on_answer(result);
  }

  const std::function<void(const restore_work&)> on_work_;
  v1::RestoreDatabaseRequest first_;
  std::mutex mutex_;
  answer on_answer_;
  bool ended_ = false;
};

class replication final : public database_stream {
 public:
  replication(const std::shared_ptr<grpc::ChannelInterface>& channel, std::string catalog,
              std::shared_ptr<database_sink> sink, stream_callbacks callbacks)
      : call_{channel, std::move(catalog)},
        sink_{std::move(sink)},
        runner_{*sink_, call_, std::move(callbacks.on_progress)},
        thread_{[this, on_end = std::move(callbacks.on_end)] {
          call_.open();
          const absl::Status status = runner_.run();
          if (on_end) on_end(status);
        }} {}
  ~replication() override {
    runner_.stop();
    thread_.join();
  }
  void drain() override { runner_.drain(); }
  void stop() override { runner_.stop(); }
  database_progress progress() const override { return runner_.progress(); }

 private:
  replicate_call call_;
  std::shared_ptr<database_sink> sink_;
  sink_runner runner_;
  std::thread thread_;
};

class restore final : public restore_stream {
 public:
  restore(const std::shared_ptr<grpc::ChannelInterface>& channel, std::string catalog, std::string path,
          std::uint64_t epoch, std::shared_ptr<database_source> source, stream_callbacks callbacks)
      : call_{channel, std::move(catalog), std::move(path), epoch, std::move(callbacks.on_work)},
        runner_{std::move(source), call_, std::move(callbacks.on_progress)},
        thread_{[this, on_end = std::move(callbacks.on_end)] {
          call_.open();
          const absl::Status status = runner_.run();
          call_.end(status);
          if (on_end) on_end(status);
        }} {}
  ~restore() override {
    runner_.stop();
    thread_.join();
  }
  void drain() override { runner_.drain(); }
  void stop() override { runner_.stop(); }
  database_progress progress() const override { return runner_.progress(); }
  void adopt(const v1::AdoptImage& request,
             std::function<void(const absl::StatusOr<v1::Adopted>&)> on_answer) override {
    call_.adopt(request, std::move(on_answer));
  }

 private:
  restore_call call_;
  source_runner runner_;
  std::thread thread_;
};

}  // namespace

std::unique_ptr<database_stream> start_database_replication(std::shared_ptr<grpc::ChannelInterface> channel,
                                                            std::string catalog,
                                                            std::shared_ptr<database_sink> sink,
                                                            stream_callbacks callbacks) {
  return std::make_unique<replication>(channel, std::move(catalog), std::move(sink), std::move(callbacks));
}

std::unique_ptr<restore_stream> start_database_restore(std::shared_ptr<grpc::ChannelInterface> channel,
                                                       std::string catalog, std::uint64_t epoch,
                                                       std::shared_ptr<database_source> source,
                                                       stream_callbacks callbacks, std::string path) {
  return std::make_unique<restore>(channel, std::move(catalog), std::move(path), epoch, std::move(source),
                                   std::move(callbacks));
}

}  // namespace understudy::channel
