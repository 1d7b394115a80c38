#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "agent-failover/actors/actors.hpp"
#include "agent-failover/actors/agent_news.hpp"

namespace caf {
class actor_system;
}
namespace understudy::api {
class board;
}

namespace understudy::server {
class file_feeds;
class histories;
}  // namespace understudy::server

namespace understudy::actors {

// What every supervisor shares. All of it outlives the supervisors.
struct supervisor_surroundings {
  os::file_system& fs;
  capture::capture_engine& capture;
  network::prober& prober;
  api::board& board;
  journal_actor journal;
  arbiter_actor arbiter;
  self_health_actor health;
  std::string data_dir;
  std::string host_name;
  // Where agents ask at their boot gate: "10.0.0.9:7200"; ":7200": at the address this host has towards them.
  std::string host_address;
  server::histories* past = nullptr;    // null: none is kept
  server::file_feeds* feeds = nullptr;  // null: nobody follows file changes
  // Changes a server's databases so, soon, by a thread of its own. May be empty.
  std::function<void(const std::string& server, const found_databases& databases)> adopt = {};
};

// How a supervisor begins.
struct supervisor_beginning {
  policy::primary_state machine{};  // as it was last durable, or a new one
  store::wall_time since{};
  std::vector<store::freeze_row> frozen{};
  std::string agent_boot{};  // the boot id that the agent last reported; empty: never
  std::shared_ptr<told_news> told = std::make_shared<told_news>();  // outlives supervisors of the server
  bool host_rebooted = false;  // this machine's boot id changed: nothing of ours runs any more
};

supervisor_actor spawn_primary_supervisor(caf::actor_system& system,
                                          const supervisor_surroundings& surroundings,
                                          const v1::ServerSpec& spec, const v1::Settings& settings,
                                          supervisor_beginning beginning);

}  // namespace understudy::actors
