#include "agent-failover/link/agent_connection.hpp"

#include <fmt/core.h>
#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <condition_variable>
#include <map>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>

#include "common/rpc/channel.hpp"
#include "common/rpc/rpc_status.hpp"
#include "understudy/v1/primary_agent.grpc.pb.h"

namespace understudy::link {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds first_retry{200};  // after a loss; doubles up to last_retry
constexpr milliseconds last_retry{2000};  // a returning primary is heard within this
constexpr std::uint32_t default_agent_port = 7100;

// A dead peer is noticed within keepalive + timeout; a returning primary is heard within a second.
std::shared_ptr<grpc::Channel> dial(const std::string& target) {
  rpc::channel_options options;
  options.keepalive = milliseconds{2000};
  options.keepalive_timeout = milliseconds{2000};
  return rpc::make_channel(target, options);
}

template <class Call>
absl::Status with_deadline(milliseconds timeout, const Call& call) {
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + timeout);
  return rpc::from_grpc(call(context));
}

class connection final : public agent_connection {
 public:
  connection(std::string target, identity who, events on)
      : who_(std::move(who)), on_(std::move(on)), target_(std::move(target)), channel_(dial(target_)) {
    thread_ = std::thread([this] { run(); });
  }

  ~connection() override {
    close();
    thread_.join();
  }

  void close() override {
    {
      std::lock_guard lock(mutex_);
      stopping_ = true;
      if (context_) context_->TryCancel();
    }
    woken_.notify_all();
  }

  void redirect(std::string target) override {
    std::lock_guard lock(mutex_);
    if (target == target_) return;
    target_ = std::move(target);
    channel_ = dial(target_);
    if (context_) context_->TryCancel();
    woken_.notify_all();
  }

  void renew() override {
    std::lock_guard lock(mutex_);
    channel_ = dial(target_);
    if (context_) context_->TryCancel();
    woken_.notify_all();
  }

  bool connected() const override {
    std::lock_guard lock(mutex_);
    return stream_ != nullptr;
  }

  std::shared_ptr<grpc::Channel> channel() const override {
    std::lock_guard lock(mutex_);
    return channel_;
  }

  absl::StatusOr<v1::HoldLeaseResponse> exchange(v1::HoldLeaseRequest request,
                                                 milliseconds timeout) override {
    const auto deadline = std::chrono::steady_clock::now() + timeout;
    // Held while writing, so that nonces arrive in order; mutex_ is not, for a write to a peer that vanished
    // may block until the keepalive notices.
    std::unique_lock writing(writing_);
    std::unique_lock lock(mutex_);
    if (!stream_) return absl::UnavailableError(fmt::format("the agent at {} is not connected", target_));
    const std::uint64_t nonce = next_nonce_++;
    fill(request, nonce);
    waiting_[nonce];
    const auto generation = generation_;
    const std::shared_ptr<stream> line = stream_;
    lock.unlock();
    const bool written = line->Write(request);
    writing.unlock();
    lock.lock();
    if (!written) {
      waiting_.erase(nonce);
      return absl::UnavailableError(fmt::format("the agent at {} went away", target_));
    }
    woken_.wait_until(lock, deadline,
                      [&] { return waiting_[nonce].has_value() || generation_ != generation || stopping_; });
    std::optional<v1::HoldLeaseResponse> answer = std::move(waiting_[nonce]);
    waiting_.erase(nonce);
    if (!answer) {
      if (generation_ != generation || stopping_) {
        return absl::UnavailableError(fmt::format("the agent at {} went away", target_));
      }
      return absl::DeadlineExceededError(
          fmt::format("the agent at {} did not answer within {} ms", target_, timeout.count()));
    }
    if (!answer->error().empty()) return absl::FailedPreconditionError(answer->error());
    return *std::move(answer);
  }

  absl::StatusOr<v1::DescribeResponse> describe(milliseconds timeout) override {
    auto stub = v1::PrimaryAgent::NewStub(channel());
    v1::DescribeResponse response;
    absl::Status status = with_deadline(
        timeout, [&](grpc::ClientContext& context) { return stub->Describe(&context, {}, &response); });
    if (!status.ok()) return status;
    return response;
  }

  absl::StatusOr<v1::ControlApplicationResponse> control(const v1::ControlApplicationRequest& request,
                                                         milliseconds timeout) override {
    auto stub = v1::PrimaryAgent::NewStub(channel());
    v1::ControlApplicationResponse response;
    absl::Status status = with_deadline(timeout, [&](grpc::ClientContext& context) {
      return stub->ControlApplication(&context, request, &response);
    });
    if (!status.ok()) return status;
    return response;
  }

 private:
  using stream = grpc::ClientReaderWriter<v1::HoldLeaseRequest, v1::HoldLeaseResponse>;

  void fill(v1::HoldLeaseRequest& request, std::uint64_t nonce) const {
    request.set_nonce(nonce);
    request.set_server(who_.server);
    request.set_host_address(who_.host_address);
    request.set_host_version(UNDERSTUDY_VERSION);
  }

  void run() {
    milliseconds retry = first_retry;
    for (;;) {
      std::shared_ptr<grpc::Channel> channel;
      auto context = std::make_shared<grpc::ClientContext>();
      {
        std::lock_guard lock(mutex_);
        if (stopping_) return;
        channel = channel_;
        context_ = context;
      }
      const std::string reason = hold(channel, *context, retry);
      std::unique_lock lock(mutex_);
      context_ = nullptr;
      if (stopping_) return;
      if (!reason.empty()) {
        lock.unlock();
        on_.down(reason);
        lock.lock();
      }
      woken_.wait_for(lock, retry, [&] { return stopping_ || channel_ != channel; });
      retry = std::min(retry * 2, last_retry);
    }
  }

  // Returns why the stream ended; empty when it never opened.
  std::string hold(const std::shared_ptr<grpc::Channel>& channel, grpc::ClientContext& context,
                   milliseconds& retry) {
    if (!channel->WaitForConnected(std::chrono::system_clock::now() + last_retry)) return "";
    auto stub = v1::PrimaryAgent::NewStub(channel);
    std::shared_ptr<stream> line(stub->HoldLease(&context));
    v1::HoldLeaseRequest question;
    fill(question, 0);
    v1::HoldLeaseResponse response;
    const bool open = line->Write(question) && line->Read(&response);
    if (open) {
      {
        std::lock_guard lock(mutex_);
        stream_ = line;
      }
      retry = first_retry;
      on_.up();
      do {
        on_.state(response);
        std::lock_guard lock(mutex_);
        if (auto waiting = waiting_.find(response.nonce()); waiting != waiting_.end()) {
          waiting->second = response;
          woken_.notify_all();
        }
      } while (line->Read(&response));
    }
    {
      std::lock_guard lock(mutex_);
      stream_ = nullptr;
      ++generation_;
      woken_.notify_all();
    }
    context.TryCancel();
    const std::lock_guard written(writing_);  // nobody writes any more, and nobody will: stream_ is gone
    const grpc::Status status = line->Finish();
    if (status.ok() || status.error_message().empty()) return "the agent closed the connection";
    return status.error_code() == grpc::StatusCode::CANCELLED ? "the connection broke"
                                                              : status.error_message();
  }

  const identity who_;
  const events on_;
  std::mutex writing_;  // before mutex_
  mutable std::mutex mutex_;
  std::condition_variable woken_;
  std::string target_;
  std::shared_ptr<grpc::Channel> channel_;
  std::shared_ptr<grpc::ClientContext> context_;
  std::shared_ptr<stream> stream_;
  std::map<std::uint64_t, std::optional<v1::HoldLeaseResponse>> waiting_;
  std::uint64_t next_nonce_ = 1;
  std::uint64_t generation_ = 0;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace

std::unique_ptr<agent_connection> agent_connection::open(std::string target, identity who, events on) {
  return std::make_unique<connection>(std::move(target), std::move(who), std::move(on));
}

absl::StatusOr<v1::DescribeResponse> describe_agent(const std::string& target, milliseconds timeout) {
  auto stub = v1::PrimaryAgent::NewStub(dial(target));
  v1::DescribeResponse response;
  absl::Status status = with_deadline(
      timeout, [&](grpc::ClientContext& context) { return stub->Describe(&context, {}, &response); });
  if (!status.ok()) return status;
  return response;
}

absl::StatusOr<v1::TestDatabaseResponse> test_database(const std::string& target,
                                                       const v1::TestDatabaseRequest& request,
                                                       milliseconds timeout) {
  auto stub = v1::PrimaryAgent::NewStub(dial(target));
  v1::TestDatabaseResponse response;
  absl::Status status = with_deadline(timeout, [&](grpc::ClientContext& context) {
    return stub->TestDatabase(&context, request, &response);
  });
  if (!status.ok()) return status;
  return response;
}

std::string agent_target(const std::string& address, std::uint32_t port) {
  if (port == 0) port = default_agent_port;
  if (address.find(':') != std::string::npos) return fmt::format("[{}]:{}", address, port);
  return fmt::format("{}:{}", address, port);
}

}  // namespace understudy::link
