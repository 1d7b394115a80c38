#pragma once

// gRPC calls as message_streams; for .cpp files only, gRPC's headers are slow to compile.

#include <grpcpp/client_context.h>
#include <grpcpp/server_context.h>
#include <grpcpp/support/sync_stream.h>

#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>

#include "common/channel/grpc_status.hpp"
#include "common/channel/message_stream.hpp"
#include "common/files/files_stream.hpp"

namespace understudy::files {

// `Request` and `Response` have a field `message` of the types Out and In (or the other way round).
template <class Response, class Request, class Out, class In>
class server_call : public channel::message_stream<Out, In> {
 public:
  using call = grpc::ServerReaderWriter<Response, Request>;
  // `first` was read already, to find out whom the call is for.
  server_call(grpc::ServerContext& context, call& stream, Request&& first)
      : context_(context), call_(stream), first_(std::move(first)) {}
  bool send(Out message) override {
    Response response;
    *response.mutable_message() = std::move(message);
    return call_.Write(response);
  }
  bool receive(In& message) override {
    Request request;
    do {
      if (!read(request)) return false;
    } while (!request.has_message());  // an introduction
    message = std::move(*request.mutable_message());
    return true;
  }
  void close() override { context_.TryCancel(); }
  absl::Status status() override {
    return context_.IsCancelled() ? absl::CancelledError("the caller went away") : absl::OkStatus();
  }

 protected:
  bool read(Request& request) {
    if (!first_) return call_.Read(&request);
    request = *std::exchange(first_, std::nullopt);
    return true;
  }

 private:
  grpc::ServerContext& context_;
  call& call_;
  std::optional<Request> first_;
};

// The client's side. `first` carries whom the call is for, and goes out with the first message or by open().
template <class Request, class Response, class Out, class In>
class client_call : public channel::message_stream<Out, In> {
 public:
  using call = grpc::ClientReaderWriter<Request, Response>;

  explicit client_call(Request first) : next_(std::move(first)) {}
  grpc::ClientContext& context() { return context_; }
  void open(std::unique_ptr<call> opened, bool introduce) {
    call_ = std::move(opened);
    if (introduce) call_->Write(std::exchange(next_, Request{}));
  }
  bool send(Out message) override {
    *next_.mutable_message() = std::move(message);
    return write(std::exchange(next_, Request{}));
  }
  bool receive(In& message) override {
    Response response;
    if (!read(response)) return false;
    message = std::move(*response.mutable_message());
    return true;
  }
  void close() override { context_.TryCancel(); }
  // After the last use by a runner.
  virtual void ended(const absl::Status&) {}
  absl::Status status() override {
    if (!status_) status_ = channel::from_grpc(call_->Finish());
    return *status_;
  }

 protected:
  // From any thread.
  bool write(const Request& request) {
    const std::lock_guard lock(writing_);
    return call_->Write(request);
  }
  bool read(Response& response) { return call_->Read(&response); }

 private:
  Request next_;
  grpc::ClientContext context_;
  std::mutex writing_;
  std::unique_ptr<call> call_;
  std::optional<absl::Status> status_;
};

// A thread that runs `Runner` over a client call.
template <class Call, class Runner, class Base>
class running_stream : public Base {
 public:
  template <class Open, class Callbacks, class... Arguments>
  running_stream(std::unique_ptr<Call> call, Open open, Callbacks callbacks, Arguments&&... arguments)
      : call_(std::move(call)),
        runner_(std::forward<Arguments>(arguments)..., *call_, std::move(callbacks.on_progress)),
        thread_([this, open, on_end = std::move(callbacks.on_end)] {
          open(*call_);
          const absl::Status status = runner_.run();
          call_->ended(status);
          if (on_end) on_end(status);
        }) {}
  ~running_stream() override {
    runner_.stop();
    thread_.join();
  }
  void drain() override { runner_.drain(); }
  void hold(bool held) override { runner_.hold(held); }
  void stop() override { runner_.stop(); }
  files_progress progress() const override { return runner_.progress(); }

 protected:
  Call& call() { return *call_; }

 private:
  std::unique_ptr<Call> call_;
  Runner runner_;
  std::thread thread_;
};

}  // namespace understudy::files
