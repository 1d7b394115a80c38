#include "agent-failover/actors/agent_news.hpp"

#include <fmt/core.h>

#include "agent-failover/server/adapter_choice.hpp"
#include "agent-failover/server/running_application.hpp"
#include "common/rpc/message_limits.hpp"

namespace understudy::actors {
namespace {

using policy::event_kind;
using policy::phase;

}  // namespace

void agent_news::connected() {
  back_reported_ = false;
  conflict_reported_ = false;
}

std::vector<policy::event> agent_news::events(const v1::HoldLeaseResponse& agent,
                                              const policy::primary_state& machine) {
  std::vector<policy::event> found;
  if (!boot_id_.empty() && agent.boot_id() != boot_id_) {
    found.push_back(policy::happened(event_kind::agent_reset, "the primary was reset: its boot id changed"));
  }
  boot_id_ = agent.boot_id();

  // Another host's, or of a life of this server that state.db does not know.
  const bool absurd = agent.right().epoch() > rpc::highest_epoch;
  const bool ahead = !absurd && (agent.right().epoch() > machine.epoch ||
                                 (machine.owner == policy::right_owner::failover_host &&
                                  agent.right().owner() == v1::RIGHT_OWNER_PRIMARY &&
                                  agent.right().epoch() == machine.epoch));
  if (ahead) {
    found.push_back(
        policy::saw_epoch(agent.right().epoch(), agent.right().owner() == v1::RIGHT_OWNER_FAILOVER_HOST
                                                     ? policy::right_owner::failover_host
                                                     : policy::right_owner::primary));
  }

  const std::string application = server::running_application(agent);
  if (machine.at == phase::standing_in && !application.empty() && !conflict_reported_) {
    conflict_reported_ = true;
    found.push_back(policy::happened(
        event_kind::conflict, fmt::format("{} runs on the primary while this host stands in", application)));
  }
  if (application.empty()) conflict_reported_ = false;

  const bool fenced = agent.right().owner() == v1::RIGHT_OWNER_FAILOVER_HOST &&
                      agent.right().epoch() >= machine.epoch && application.empty();
  const bool waiting = machine.at == phase::standing_in || machine.at == phase::stood_down;
  if (waiting && fenced && !back_reported_) {
    back_reported_ = true;
    found.push_back(policy::happened(event_kind::primary_back));
  }
  if (!waiting) back_reported_ = false;
  return found;
}

std::optional<v1::HoldLeaseRequest> agent_news::order(const v1::HoldLeaseResponse& agent,
                                                      const policy::primary_state& machine,
                                                      const v1::ServerSpec& spec,
                                                      const std::string& host_name) const {
  const bool held_by_host = agent.right().owner() == v1::RIGHT_OWNER_FAILOVER_HOST;
  v1::HoldLeaseRequest request;
  if (machine.owner == policy::right_owner::failover_host) {
    if (held_by_host && agent.right().epoch() >= machine.epoch) return std::nullopt;
    auto& fence = *request.mutable_fence();
    fence.set_epoch(machine.epoch);
    fence.set_owner(host_name);
    fence.set_reason(fmt::format("{} stands in", host_name));
    *fence.mutable_service_addresses() = spec.service_addresses();
    return request;
  }
  if (!policy::may_grant(machine)) return std::nullopt;
  // Never backwards. An agent that is fenced under no smaller epoch was fenced by a host that knew more than
  // this record (it was restored from a backup, or another host stands in): that is for people to sort out.
  if (agent.right().epoch() > machine.epoch || (held_by_host && agent.right().epoch() == machine.epoch))
    return std::nullopt;
  const bool owner_known = agent.right().owner() == v1::RIGHT_OWNER_PRIMARY;
  if (owner_known && agent.right().epoch() == machine.epoch) return std::nullopt;
  auto& grant = *request.mutable_grant();
  grant.set_epoch(machine.epoch);
  // One that was fenced starts again what the fence stopped; another one is left as it is.
  grant.set_start_applications(held_by_host);
  *grant.mutable_service_addresses() = spec.service_addresses();
  return request;
}

std::string agent_news::link_local_target(const v1::Settings& settings, const v1::ServerSpec& spec) const {
  if (!description_) return "";
  std::string adapter_there;
  for (const auto& address : description_->addresses()) {
    if (address.address() == spec.address()) adapter_there = address.adapter();
  }
  const std::string adapter_here = server::adapter_for(spec.address(), settings);
  if (adapter_there.empty() || adapter_here.empty()) return "";
  for (const auto& address : description_->addresses()) {
    if (address.adapter() == adapter_there && address.address().starts_with("fe80:")) {
      // The agent names its own interface; the scope that counts is ours.
      const std::string bare = address.address().substr(0, address.address().find('%'));
      return fmt::format("[{}%{}]:{}", bare, adapter_here, spec.port());
    }
  }
  return "";
}

}  // namespace understudy::actors
