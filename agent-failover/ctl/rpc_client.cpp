#include "agent-failover/ctl/rpc_client.hpp"

#include <fmt/core.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>

#include <cstdlib>
#include <fstream>
#include <sstream>

#include "absl/strings/cord.h"
#include "agent-failover/ctl/error_text.hpp"
#include "agent-failover/ctl/interrupt.hpp"
#include "common/status/errno_status.hpp"
#include "common/status/status_macros.hpp"
#include "google/protobuf/descriptor.h"

namespace understudy::ctl {

namespace {

using google::protobuf::Message;
using std::chrono::milliseconds;
using std::chrono::system_clock;

constexpr milliseconds TICK{50};                // how soon SIGINT is noticed
constexpr milliseconds CONNECT_PATIENCE{5000};  // for a host that does not answer at all
constexpr int LARGEST_MESSAGE = 64 << 20;       // bytes; a status of thousands of servers is far below

const google::protobuf::MethodDescriptor& method_of(const Message& request) {
  const auto* file = request.GetDescriptor()->file();
  for (int s = 0; s < file->service_count(); ++s) {
    for (int m = 0; m < file->service(s)->method_count(); ++m) {
      const auto* method = file->service(s)->method(m);
      if (method->input_type() == request.GetDescriptor()) return *method;
    }
  }
  std::abort();
}

std::string path_of(const google::protobuf::MethodDescriptor& method) {
  return "/" + method.service()->full_name() + "/" + method.name();
}

grpc::ByteBuffer to_buffer(const Message& message) {
  const grpc::Slice slice{message.SerializeAsString()};
  return {&slice, 1};
}

bool parse(const grpc::ByteBuffer& buffer, Message* message) {
  std::vector<grpc::Slice> slices;
  if (!buffer.Dump(&slices).ok()) return false;
  std::string bytes;
  bytes.reserve(buffer.Length());
  for (const auto& slice : slices) bytes.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
  return message->ParseFromString(bytes);
}

absl::Status to_absl(const grpc::Status& status) {
  if (status.ok()) return absl::OkStatus();
  absl::Status result{static_cast<absl::StatusCode>(status.error_code()), status.error_message()};
  if (!status.error_details().empty()) result.SetPayload(DETAILS_KEY, absl::Cord{status.error_details()});
  return result;
}

// What calls and streams share.
struct connection {
  std::shared_ptr<grpc::Channel> channel;
  grpc::GenericStub stub;
  std::string host;
  std::string token;

  void prepare(grpc::ClientContext* context, milliseconds deadline) const {
    if (deadline != rpc_client::NO_DEADLINE) context->set_deadline(system_clock::now() + deadline);
    if (!token.empty()) context->AddMetadata("authorization", "Bearer " + token);
  }

  // Leaves when connected, refused, interrupted or out of patience: a host that drops packets would otherwise
  // look like one that is slow to answer.
  bool reach(milliseconds patience) const {
    const auto end = system_clock::now() + patience;
    auto state = channel->GetState(true);
    while (state != GRPC_CHANNEL_READY && state != GRPC_CHANNEL_TRANSIENT_FAILURE && !interrupted()) {
      if (system_clock::now() >= end) return false;
      channel->WaitForStateChange(state, std::min(end, system_clock::now() + TICK));
      state = channel->GetState(true);
    }
    return !interrupted();
  }

  absl::Status unreachable(std::string_view detail) const {
    return with_hint(with_hint(absl::UnavailableError(
                                   fmt::format("no connection to the failover host at {}: {}", host, detail)),
                               "on the failover host: systemctl status understudyd"),
                     "another address: --host ADDRESS:PORT, or UNDERSTUDY_HOST");
  }

  // Says what the operator can do about errors that the host could not comment on.
  absl::Status explained(const grpc::Status& status, milliseconds deadline) const {
    if (interrupted()) return absl::CancelledError("interrupted");
    auto result = to_absl(status);
    if (has_help(result)) return result;
    switch (status.error_code()) {
      case grpc::StatusCode::UNAVAILABLE:
        // On a connection that stands it is the host's own answer: its agent, say, cannot be reached.
        return channel->GetState(false) == GRPC_CHANNEL_READY ? result : unreachable(status.error_message());
      case grpc::StatusCode::UNAUTHENTICATED:
        return with_hint(result, "log in: understudyctl login");
      case grpc::StatusCode::DEADLINE_EXCEEDED:
        return absl::DeadlineExceededError(
            fmt::format("{} did not answer within {} s", host, deadline.count() / 1000.0));
      default:
        return result;
    }
  }
};

// Waits for the queue's next event; cancels the call once at SIGINT. False when `within` passed.
bool await(grpc::CompletionQueue* queue, grpc::ClientContext* context, bool* ok, const milliseconds* within) {
  const auto end = system_clock::now() + (within ? *within : milliseconds{0});
  bool cancelled = false;
  while (true) {
    if (interrupted() && !cancelled) {
      context->TryCancel();
      cancelled = true;
    }
    auto until = system_clock::now() + TICK;
    if (within && !cancelled) until = std::min(until, end);
    void* tag = nullptr;
    if (queue->AsyncNext(&tag, ok, until) == grpc::CompletionQueue::GOT_EVENT) return true;
    if (within && !cancelled && system_clock::now() >= end) return false;
  }
}

class generic_stream final : public rpc_stream {
 public:
  generic_stream(connection* to, const Message& request, milliseconds deadline)
      : to_(to), deadline_(deadline) {
    to_->prepare(&context_, deadline);
    if (!to_->reach(CONNECT_PATIENCE)) {
      status_ = interrupted() ? absl::CancelledError("interrupted") : to_->unreachable("no answer");
      ended_ = true;
      return;
    }
    call_ = to_->stub.PrepareCall(&context_, path_of(method_of(request)), &queue_);
    bool ok = false;
    call_->StartCall(nullptr);
    await(&queue_, &context_, &ok, nullptr);
    if (ok) {
      call_->WriteLast(to_buffer(request), grpc::WriteOptions{}, nullptr);
      await(&queue_, &context_, &ok, nullptr);
    }
    if (ok) {
      call_->Read(&buffer_, nullptr);
    } else {
      finish();
    }
  }

  ~generic_stream() override {
    context_.TryCancel();
    // gRPC wants the call finished and the queue drained before either goes away.
    if (!ended_) {
      bool ok = false;
      await(&queue_, &context_, &ok, nullptr);
      finish();
    }
    queue_.Shutdown();
    void* tag = nullptr;
    bool ok = false;
    while (queue_.Next(&tag, &ok)) {
    }
  }

  item next(Message* out, milliseconds within) override {
    if (ended_) return item::end;
    bool ok = false;
    if (!await(&queue_, &context_, &ok, &within)) return item::idle;
    if (!ok) {
      finish();
      return item::end;
    }
    const bool parsed = parse(buffer_, out);
    call_->Read(&buffer_, nullptr);
    if (parsed) return item::message;
    context_.TryCancel();
    await(&queue_, &context_, &ok, nullptr);
    finish();
    status_ = absl::InternalError(fmt::format("{} sent what is not a {}", to_->host, out->GetTypeName()));
    return item::end;
  }

  absl::Status status() const override { return status_; }

 private:
  void finish() {
    grpc::Status status;
    bool ok = false;
    call_->Finish(&status, nullptr);
    await(&queue_, &context_, &ok, nullptr);
    ended_ = true;
    status_ = to_->explained(status, deadline_);
  }

  connection* to_;
  milliseconds deadline_;
  grpc::ClientContext context_;
  grpc::CompletionQueue queue_;
  grpc::ByteBuffer buffer_;
  std::unique_ptr<grpc::GenericClientAsyncReaderWriter> call_;
  absl::Status status_;
  bool ended_ = false;
};

class generic_client final : public rpc_client {
 public:
  explicit generic_client(connection to) : to_(std::move(to)) {}

  absl::Status call(const Message& request, Message* response, milliseconds deadline) override {
    const auto& method = method_of(request);
    if (method.output_type() != response->GetDescriptor()) std::abort();
    const auto patience = deadline == NO_DEADLINE ? CONNECT_PATIENCE : std::min(deadline, CONNECT_PATIENCE);
    if (!to_.reach(patience)) {
      return interrupted() ? absl::CancelledError("interrupted") : to_.unreachable("no answer");
    }
    grpc::ClientContext context;
    to_.prepare(&context, deadline);
    grpc::CompletionQueue queue;
    const auto buffer = to_buffer(request);
    grpc::ByteBuffer answer;
    grpc::Status status;
    auto call = to_.stub.PrepareUnaryCall(&context, path_of(method), buffer, &queue);
    call->StartCall();
    call->Finish(&answer, &status, nullptr);
    bool ok = false;
    await(&queue, &context, &ok, nullptr);
    if (!status.ok()) return to_.explained(status, deadline);
    if (!parse(answer, response)) {
      return absl::InternalError(fmt::format("{} sent what is not a {}", to_.host, response->GetTypeName()));
    }
    return absl::OkStatus();
  }

  std::unique_ptr<rpc_stream> open(const Message& request, milliseconds deadline) override {
    return std::make_unique<generic_stream>(&to_, request, deadline);
  }

 private:
  connection to_;
};

absl::StatusOr<std::shared_ptr<grpc::ChannelCredentials>> credentials(const ctl_config& config) {
  if (config.ca.empty()) return grpc::InsecureChannelCredentials();
  std::ifstream file{config.ca};
  if (!file)
    return with_hint(errno_status(errno, "open", config.ca),
                     "it is the failover host's CA certificate; set `ca` in ctl.toml, --ca or UNDERSTUDY_CA");
  std::ostringstream pem;
  pem << file.rdbuf();
  grpc::SslCredentialsOptions options;
  options.pem_root_certs = pem.str();
  return grpc::SslCredentials(options);
}

}  // namespace

absl::StatusOr<std::unique_ptr<rpc_client>> make_rpc_client(const ctl_config& config) {
  UNDERSTUDY_ASSIGN_OR_RETURN(const auto host, normalized_host(config.host));
  UNDERSTUDY_ASSIGN_OR_RETURN(const auto secured, credentials(config));
  grpc::ChannelArguments arguments;
  // A proxy meant for web pages would swallow calls to a machine of the local network.
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  arguments.SetMaxReceiveMessageSize(LARGEST_MESSAGE);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 1000);
  if (!config.server_name.empty()) arguments.SetSslTargetNameOverride(config.server_name);
  auto channel = grpc::CreateCustomChannel(host, secured, arguments);
  return std::make_unique<generic_client>(
      connection{channel, grpc::GenericStub{channel}, host, config.token});
}

}  // namespace understudy::ctl
