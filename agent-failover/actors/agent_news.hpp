#pragma once

// What the state of an agent means: news for the state machine, and what the agent has to be told. Pure but
// for its memory of what was already reported.

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "agent-failover/policy/event.hpp"
#include "understudy/v1/primary_agent.pb.h"
#include "understudy/v1/server.pb.h"
#include "understudy/v1/supervisor.pb.h"

namespace understudy::actors {

class agent_news {
 public:
  // `boot_id`: what the agent reported in an earlier life of this daemon; empty: nothing.
  explicit agent_news(std::string boot_id = {}) : boot_id_(std::move(boot_id)) {}
  const std::string& boot_id() const { return boot_id_; }  // as reported last

  // A new connection: what was reported may be reported again.
  void connected();
  // A primary that is back is reported once more, though its connection is the same.
  void report_back_again() { back_reported_ = false; }
  void described(const v1::DescribeResponse& description) { description_ = description; }

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
  std::optional<v1::DescribeResponse> description_;
};

}  // namespace understudy::actors
