#include "agent-primary/service/lease_streams.hpp"

#include <grpcpp/grpcpp.h>
#include <caf/send.hpp>

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <map>
#include <thread>

#include "agent-primary/application/application_proto.hpp"
#include "agent-primary/capture/capture_engine.hpp"
#include "agent-primary/service/agent_parts.hpp"
#include "agent-primary/service/boot_moment.hpp"
#include "agent-primary/service/right_proto.hpp"
#include "agent-primary/service/service_addresses.hpp"
#include "common/log/log.hpp"
#include "common/rpc/message_limits.hpp"
#include "understudy/v1/primary_agent.grpc.pb.h"

namespace understudy::service {
namespace {

constexpr std::size_t remembered_answers = 64;  // a host has one request under way; more is slack
constexpr std::size_t most_waiting = 256;       // answers that a host does not read; then the stream is ended

}  // namespace

application::application_status as_told(application::application_status status, lease::gate_phase phase) {
  if (phase == lease::gate_phase::closing && !status.up())
    status.state = application::application_state::stopping;
  return status;
}

class lease_streams::session {
 public:
  session(agent_parts& parts, grpc::ServerContext& context) : parts_(parts), context_(&context) {}

  // From the agent: an answer, or (nonce 0) news. News that is still waiting is not repeated.
  void push(std::uint64_t nonce, std::string error) {
    std::lock_guard lock(mutex_);
    if (ended_) return;
    if (nonce == 0 && news_waiting_) return;
    if (waiting_.size() >= most_waiting) {
      context_->TryCancel();
      return;
    }
    news_waiting_ = news_waiting_ || nonce == 0;
    waiting_.push_back({nonce, std::move(error)});
    changed_.notify_one();
  }

  void end() {
    std::lock_guard lock(mutex_);
    if (!ended_ && context_ != nullptr) context_->TryCancel();
    ended_ = true;
    changed_.notify_one();
  }

  // The call is about to return: its context must not be touched any more.
  void detach() {
    std::lock_guard lock(mutex_);
    ended_ = true;
    context_ = nullptr;
    changed_.notify_one();
  }

  void write_until_ended(grpc::ServerReaderWriter<v1::HoldLeaseResponse, v1::HoldLeaseRequest>& call) {
    for (;;) {
      answer next;
      {
        std::unique_lock lock(mutex_);
        changed_.wait(lock, [this] { return ended_ || !waiting_.empty(); });
        if (ended_) return;
        next = std::move(waiting_.front());
        waiting_.pop_front();
        if (next.nonce == 0) news_waiting_ = false;
        if (next.nonce != 0) {
          asked_at_[next.nonce] = boot_time_now();
          if (asked_at_.size() > remembered_answers) asked_at_.erase(asked_at_.begin());
        }
      }
      if (!call.Write(response_of(next))) return;
    }
  }

  // When the agent asked for what the request with this nonce brings; none: it never did on this stream.
  std::optional<lease::time_point> asked_for(std::uint64_t nonce) {
    std::lock_guard lock(mutex_);
    const auto found = asked_at_.find(nonce - 1);
    if (found == asked_at_.end()) return std::nullopt;
    return found->second;
  }

 private:
  struct answer {
    std::uint64_t nonce = 0;
    std::string error;
  };

  v1::HoldLeaseResponse response_of(const answer& next) const {
    const lease_snapshot right = parts_.right();
    v1::HoldLeaseResponse response;
    response.set_nonce(next.nonce);
    *response.mutable_right() = to_proto(right.right);
    for (const application::application_status& status : parts_.applications->status()) {
      *response.add_applications() = application::to_proto(as_told(status, right.phase));
    }
    response.set_boot_id(boot_id());
    for (std::string& held : present_service_addresses(right.right.service_addresses))
      response.add_held_addresses(std::move(held));
    response.set_error(next.error);
    response.set_version(UNDERSTUDY_VERSION);
    response.set_databases_revision(parts_.databases_revision());
    for (const database_config& database : parts_.databases()) {
      const std::uint64_t pages = parts_.capture->metrics(database.path).damaged_pages;
      if (pages == 0) continue;
      v1::DatabaseDamage& damage = *response.add_damaged();
      damage.set_catalog(database.catalog);
      damage.set_pages(pages);
    }
    return response;
  }

  agent_parts& parts_;
  std::mutex mutex_;
  std::condition_variable changed_;
  grpc::ServerContext* context_;
  std::deque<answer> waiting_;
  bool news_waiting_ = false;
  bool ended_ = false;
  std::map<std::uint64_t, lease::time_point> asked_at_;
};

namespace {

struct decoded {
  lease::gate_event event;
  std::string error;
};

decoded decode(const v1::HoldLeaseRequest& request, std::optional<lease::time_point> asked_at) {
  if (std::max(request.grant().epoch(), request.fence().epoch()) > rpc::highest_epoch)
    return {lease::host_met{}, "an epoch grows by one with each change of hands: this one is none"};
  if (request.has_grant()) {
    lease::granted event;
    event.epoch = request.grant().epoch();
    event.owner_name = request.server();
    event.now = boot_time_now();
    if (request.grant().has_lease()) {
      if (!asked_at)
        return {
            lease::host_met{},
            "a lease must follow the agent's answer on the same stream: send a request without one first"};
      event.lease = from_proto(request.grant().lease());
      event.asked_at = *asked_at;
    }
    event.addresses = from_proto(request.grant().service_addresses());
    event.start_applications = request.grant().start_applications();
    event.host_address = request.host_address();
    event.server = request.server();
    event.wall_unix = wall_seconds();
    return {event, ""};
  }
  if (request.has_fence()) {
    lease::fenced event;
    event.epoch = request.fence().epoch();
    event.owner_name = request.fence().owner();
    event.reason = request.fence().reason();
    event.addresses = from_proto(request.fence().service_addresses());
    event.host_address = request.host_address();
    event.server = request.server();
    event.wall_unix = wall_seconds();
    return {event, ""};
  }
  return {lease::host_met{request.host_address(), request.server()}, ""};
}

}  // namespace

grpc::Status lease_streams::serve(
    grpc::ServerContext& context,
    grpc::ServerReaderWriter<v1::HoldLeaseResponse, v1::HoldLeaseRequest>& call) {
  const auto mine = std::make_shared<session>(parts_, context);
  {
    std::lock_guard lock(mutex_);
    if (current_) current_->end();
    current_ = mine;
  }
  std::thread writer([&] { mine->write_until_ended(call); });
  v1::HoldLeaseRequest request;
  while (call.Read(&request)) {
    const lease_keeper_actor keeper = parts_.lease_keeper();
    if (!keeper) break;
    decoded what = decode(request, mine->asked_for(request.nonce()));
    if (!what.error.empty()) {
      mine->push(request.nonce(), std::move(what.error));
      continue;
    }
    // The answer is made when the gate has decided and its record is durable.
    caf::anon_send(keeper, atom::feed_v,
                   gate_request{std::move(what.event),
                                [this, mine, nonce = request.nonce()](const lease_snapshot& right) {
                                  parts_.set_right(right);
                                  mine->push(nonce, right.refusal);
                                }});
  }
  mine->detach();
  writer.join();
  std::lock_guard lock(mutex_);
  if (current_ == mine) current_.reset();
  return grpc::Status::OK;
}

void lease_streams::end() {
  std::lock_guard lock(mutex_);
  if (current_) current_->end();
}

void lease_streams::changed() {
  std::lock_guard lock(mutex_);
  if (current_) current_->push(0, "");
}

}  // namespace understudy::service
