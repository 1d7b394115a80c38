#pragma once

// What the state of an agent means: news for the state machine, and what the agent has to be told. Pure but
// for its memory of what was already reported.

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "agent-failover/policy/event.hpp"
#include "understudy/v1/primary_agent.pb.h"
#include "understudy/v1/server.pb.h"
#include "understudy/v1/supervisor.pb.h"

namespace understudy::actors {

// What was told already, and is not told again by the next supervisor of the server.
struct told_news {
  std::map<std::string, std::uint64_t> damaged_pages;  // by catalog, as last seen
  std::string not_protected;
};

// How a specification follows what the agent finds.
struct found_databases {
  std::vector<v1::DatabaseSpec> add;
  std::vector<std::string> drop;  // catalogs: found once, gone, and never copied
  std::string left_out;           // what is not protected, and why
  bool empty() const { return add.empty() && drop.empty(); }
};

class agent_news {
 public:
  // `boot_id`: what the agent reported in an earlier life of this daemon; empty: nothing.
  explicit agent_news(std::string boot_id = {},
                      std::shared_ptr<told_news> told = std::make_shared<told_news>())
      : boot_id_(std::move(boot_id)), told_(std::move(told)) {}
  const std::string& boot_id() const { return boot_id_; }  // as reported last

  // A new connection: what was reported may be reported again.
  void connected();
  // A primary that is back is reported once more, though its connection is the same.
  void report_back_again() { back_reported_ = false; }
  void described(const v1::DescribeResponse& description) { description_ = description; }
  // The agent's list of databases is not the one that it spoke of last.
  bool databases_changed(const v1::HoldLeaseResponse& agent) {
    return std::exchange(databases_revision_, agent.databases_revision()) != agent.databases_revision();
  }
  // The description that was asked for did not come: it is asked for again.
  void not_described() { databases_revision_ = 0; }
  // Databases that the agent found by itself and `spec` does not have, where `spec` wants them; and those
  // that it has for that reason only, and without_copy names. What could not be stored or is too much is left
  // out.
  found_databases found(const v1::ServerSpec& spec, const std::set<std::string>& without_copy) const;
  // What to alert: damage that was not there the last time.
  std::vector<std::string> damage(const v1::HoldLeaseResponse& agent);
  // Whether `left_out` is something, and not what was said last.
  bool is_new(const std::string& left_out) {
    return std::exchange(told_->not_protected, left_out) != left_out && !left_out.empty();
  }

  // The machine was reset; it serves although the right is here; it is back, fenced and can receive data.
  std::vector<policy::event> events(const v1::HoldLeaseResponse& agent, const policy::primary_state& machine);

  // The fence or grant that brings the agent's record in line with the machine's; nothing when they agree.
  std::optional<v1::HoldLeaseRequest> order(const v1::HoldLeaseResponse& agent,
                                            const policy::primary_state& machine, const v1::ServerSpec& spec,
                                            const std::string& host_name) const;

  // Where the agent is reached while this host holds its address: its IPv6 link-local address on the same
  // network; empty when it reported none.
  std::string link_local_target(const v1::Settings& settings, const v1::ServerSpec& spec) const;

 private:
  std::string boot_id_;
  bool back_reported_ = false;
  bool conflict_reported_ = false;
  std::uint64_t databases_revision_ = 0;
  std::shared_ptr<told_news> told_;
  std::optional<v1::DescribeResponse> description_;
};

}  // namespace understudy::actors
