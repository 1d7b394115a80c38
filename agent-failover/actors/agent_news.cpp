#include "agent-failover/actors/agent_news.hpp"

#include <fmt/core.h>

#include <algorithm>

#include "agent-failover/server/adapter_choice.hpp"
#include "agent-failover/server/made_databases.hpp"
#include "agent-failover/server/running_application.hpp"
#include "common/rpc/message_limits.hpp"
#include "common/wildcard/database_pattern.hpp"

namespace understudy::actors {
namespace {

using policy::event_kind;
using policy::phase;

using wildcard::most_found;                     // of one server; what an agent finds, too
constexpr std::size_t longest_left_out = 2000;  // bytes of an event's text

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

found_databases agent_news::found(const v1::ServerSpec& spec,
                                  const std::set<std::string>& without_copy) const {
  found_databases result;
  if (!description_) return result;
  std::set<std::string_view> there;
  for (const auto& described : description_->databases()) there.insert(described.path());
  std::set<std::string_view> catalogs;
  std::set<std::string_view> paths;
  std::size_t room = most_found;
  for (const auto& has : spec.databases()) {
    catalogs.insert(has.catalog());
    paths.insert(has.path());
    if (!has.found()) continue;
    if (!there.contains(has.path()) && without_copy.contains(has.catalog())) {
      result.drop.push_back(has.catalog());
    } else if (room > 0) {
      --room;
    }
  }
  const auto leave_out = [&](const std::string& text) {
    if (result.left_out.size() < longest_left_out)
      result.left_out += (result.left_out.empty() ? "" : "; ") + text;
  };
  for (const std::string& text : description_->not_protected()) leave_out(text);
  bool full = false;
  for (const auto& described : description_->databases()) {
    if (!described.found() || catalogs.contains(described.catalog()) || paths.contains(described.path()) ||
        server::ignores_found(spec, described.catalog()))
      continue;
    if (result.add.size() >= room) {
      if (!std::exchange(full, true))
        leave_out(fmt::format("a server has at most {} found databases; the first that is left out is {}",
                              most_found, described.path()));
      continue;
    }
    v1::DatabaseSpec database;
    database.set_catalog(described.catalog());
    database.set_path(described.path());
    *database.mutable_configuration_tables() = described.configuration_tables();
    database.set_found(true);
    if (const std::string wrong = server::found_problem(spec, database); !wrong.empty()) {
      leave_out(fmt::format("{}: {}", described.path(), wrong));
      continue;
    }
    catalogs.insert(described.catalog());
    paths.insert(described.path());
    result.add.push_back(std::move(database));
  }
  return result;
}

std::vector<std::string> agent_news::damage(const v1::HoldLeaseResponse& agent) {
  std::map<std::string, std::uint64_t> now;
  std::vector<std::string> told;
  for (const auto& damage : agent.damaged()) {
    now[damage.catalog()] = damage.pages();
    const auto before = told_->damaged_pages.find(damage.catalog());
    if (before != told_->damaged_pages.end() && before->second >= damage.pages()) continue;
    told.push_back(fmt::format(
        "{}: {} page{} of the database file on the primary {} not as last committed; the copy keeps what was",
        damage.catalog(), damage.pages(), damage.pages() == 1 ? "" : "s",
        damage.pages() == 1 ? "is" : "are"));
  }
  told_->damaged_pages = std::move(now);
  return told;
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
