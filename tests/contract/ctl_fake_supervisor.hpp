#pragma once

// A failover host that says what a test tells it to, on a loopback port of its own. It is addressed by the
// methods' paths as the protocol writes them, not by generated code, so that the program's own way of finding
// them is tested.

#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/grpcpp.h>

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "google/protobuf/message.h"

namespace understudy::test {

class fake_supervisor : public grpc::CallbackGenericService {
 public:
  // What a method does: fills the answers (none, one, or many for a stream).
  struct answer {
    std::vector<std::string> messages;
    grpc::Status status;
    bool hold_open = false;  // a stream that does not end by itself
  };
  using script = std::function<answer(const std::string& request)>;

  fake_supervisor() {
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port_);
    builder.RegisterCallbackGenericService(this);
    server_ = builder.BuildAndStart();
  }
  ~fake_supervisor() override { stop(); }

  void stop() {
    if (server_) server_->Shutdown(std::chrono::system_clock::now());
    server_.reset();
  }

  std::string address() const { return "127.0.0.1:" + std::to_string(port_); }

  void on(const std::string& method, script what) {
    const std::lock_guard lock{mutex_};
    scripts_["/understudy.v1." + (method.find('/') == std::string::npos ? "Supervisor/" + method : method)] =
        std::move(what);
  }
  void answers(const std::string& method, const google::protobuf::Message& message) {
    on(method, [bytes = message.SerializeAsString()](const std::string&) {
      return answer{{bytes}, {}, false};
    });
  }
  void fails(const std::string& method, const grpc::Status& status) {
    on(method, [status](const std::string&) { return answer{{}, status, false}; });
  }

  template <class Request>
  std::vector<Request> requests(const std::string& method) {
    const std::lock_guard lock{mutex_};
    std::vector<Request> parsed;
    for (const auto& bytes :
         requests_["/understudy.v1." +
                   (method.find('/') == std::string::npos ? "Supervisor/" + method : method)]) {
      parsed.emplace_back().ParseFromString(bytes);
    }
    return parsed;
  }
  std::string authorization() {
    const std::lock_guard lock{mutex_};
    return authorization_;
  }

 private:
  class reactor : public grpc::ServerGenericBidiReactor {
   public:
    reactor(fake_supervisor* owner, grpc::GenericCallbackServerContext* context)
        : owner_(owner), method_(context->method()) {
      const auto found = context->client_metadata().find("authorization");
      if (found != context->client_metadata().end())
        owner_->note_authorization({found->second.data(), found->second.size()});
      StartRead(&buffer_);
    }
    void OnReadDone(bool ok) override {
      if (!ok) return finish_once(grpc::Status::OK);
      std::vector<grpc::Slice> slices;
      std::string bytes;
      if (buffer_.Dump(&slices).ok()) {
        for (const auto& slice : slices)
          bytes.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
      }
      answer given = owner_->answer_to(method_, bytes);
      {
        const std::lock_guard lock{turn_};
        answer_ = std::move(given);
      }
      write_next();
    }
    void OnWriteDone(bool ok) override { ok ? write_next() : finish_once(grpc::Status::OK); }
    void OnCancel() override { finish_once(grpc::Status::CANCELLED); }
    void OnDone() override { delete this; }

   private:
    void write_next() {
      std::unique_lock lock{turn_};
      if (next_ < answer_.messages.size()) {
        const grpc::Slice slice{answer_.messages[next_++]};
        out_ = grpc::ByteBuffer{&slice, 1};
        lock.unlock();
        StartWrite(&out_);
      } else if (!answer_.hold_open) {
        const grpc::Status status = answer_.status;
        lock.unlock();
        finish_once(status);
      }
    }
    void finish_once(const grpc::Status& status) {
      if (!finished_.exchange(true)) Finish(status);
    }

    fake_supervisor* owner_;
    std::string method_;
    grpc::ByteBuffer buffer_;
    grpc::ByteBuffer out_;
    std::mutex turn_;  // gRPC calls one at a time, and orders the calls where TSan does not see it
    answer answer_;
    std::size_t next_ = 0;
    std::atomic<bool> finished_{false};
  };

  grpc::ServerGenericBidiReactor* CreateReactor(grpc::GenericCallbackServerContext* context) override {
    return new reactor{this, context};
  }
  void note_authorization(std::string value) {
    const std::lock_guard lock{mutex_};
    authorization_ = std::move(value);
  }
  answer answer_to(const std::string& method, const std::string& bytes) {
    script what;
    {
      const std::lock_guard lock{mutex_};
      requests_[method].push_back(bytes);
      const auto found = scripts_.find(method);
      if (found == scripts_.end())
        return {{}, {grpc::StatusCode::UNIMPLEMENTED, "not built yet: " + method}, false};
      what = found->second;
    }
    return what(bytes);
  }

  std::mutex mutex_;
  std::map<std::string, script> scripts_;
  std::map<std::string, std::vector<std::string>> requests_;
  std::string authorization_;
  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;
};

}  // namespace understudy::test
