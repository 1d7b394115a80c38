#include "agent-primary/service/gate_client.hpp"

#include <fmt/core.h>
#include <grpcpp/grpcpp.h>

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <random>
#include <set>

#include "agent-primary/service/boot_moment.hpp"
#include "agent-primary/service/right_proto.hpp"
#include "common/log/log.hpp"
#include "common/rpc/channel.hpp"
#include "common/rpc/message_limits.hpp"
#include "understudy/v1/gate.grpc.pb.h"

namespace understudy::service {
namespace {

constexpr std::chrono::milliseconds ask_deadline{1000};  // the gate asks again every second

struct question {
  grpc::ClientContext context;
  v1::AskToRunRequest request;
  v1::AskToRunResponse response;
  lease::time_point asked_at;
};

std::optional<lease::gate_event> event_of(const question& q, const std::string& address) {
  const v1::AskToRunResponse& answer = q.response;
  if (answer.nonce() != q.request.nonce() || answer.right().epoch() > rpc::highest_epoch) return std::nullopt;
  if (answer.granted()) {
    lease::granted event;
    event.epoch = answer.right().epoch();
    event.owner_name = answer.right().owner_name();
    if (answer.has_lease()) event.lease = from_proto(answer.lease());
    event.asked_at = q.asked_at;
    event.now = boot_time_now();
    event.addresses = from_proto(answer.service_addresses());
    event.host_address = address;
    event.wall_unix = wall_seconds();
    return event;
  }
  // A refusal that names no owner is "not now" (the host itself has just started): ask again.
  if (answer.right().owner() != v1::RIGHT_OWNER_FAILOVER_HOST) return std::nullopt;
  lease::fenced event;
  event.epoch = answer.right().epoch();
  event.owner_name = answer.right().owner_name();
  event.reason = answer.reason();
  event.addresses = from_proto(answer.service_addresses());
  event.host_address = address;
  event.wall_unix = wall_seconds();
  return event;
}

}  // namespace

class gate_client::implementation {
 public:
  std::string own_name;
  rpc::tls_files tls;
  std::mutex mutex;
  std::condition_variable idle;
  std::set<question*> open;                        // under mutex
  std::string address;                             // under mutex
  std::unique_ptr<v1::Gate::Stub> stub;            // under mutex
  std::mt19937_64 random{std::random_device{}()};  // under mutex
  bool closing = false;                            // under mutex
};

gate_client::gate_client(std::string own_name, rpc::tls_files tls)
    : implementation_(std::make_shared<implementation>()) {
  implementation_->own_name = std::move(own_name);
  implementation_->tls = std::move(tls);
}

gate_client::~gate_client() {
  close();
}

void gate_client::close() {
  std::unique_lock lock(implementation_->mutex);
  implementation_->closing = true;
  for (question* q : implementation_->open) q->context.TryCancel();
  implementation_->idle.wait(lock, [this] { return implementation_->open.empty(); });
}

void gate_client::ask(const std::string& address, const lease::right_record& right,
                      std::function<void(lease::gate_event)> answer) {
  implementation& own = *implementation_;
  std::lock_guard lock(own.mutex);
  if (address.empty() || own.closing) return;
  if (own.address != address) {
    own.address = address;
    rpc::channel_options options;
    options.tls = own.tls;
    own.stub = v1::Gate::NewStub(rpc::make_channel(address, options));
  }
  auto q = std::make_shared<question>();
  q->context.set_deadline(std::chrono::system_clock::now() + ask_deadline);
  q->context.set_wait_for_ready(true);
  q->request.set_server(right.server.empty() ? own.own_name : right.server);
  *q->request.mutable_right() = to_proto(right);
  q->request.set_boot_id(boot_id());
  q->request.set_version(UNDERSTUDY_VERSION);
  q->request.set_nonce(own.random());
  q->asked_at = boot_time_now();
  own.open.insert(q.get());
  own.stub->async()->AskToRun(
      &q->context, &q->request, &q->response,
      [parts = implementation_, q, address, answer = std::move(answer)](const grpc::Status& status) {
        if (status.ok()) {
          if (std::optional<lease::gate_event> event = event_of(*q, address)) answer(*std::move(event));
        } else {
          log::debug("", "the gate asked {}: {}", address, status.error_message());
        }
        std::lock_guard done(parts->mutex);
        parts->open.erase(q.get());
        parts->idle.notify_all();
      });
}

}  // namespace understudy::service
