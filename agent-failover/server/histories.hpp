#pragma once

// The past of every server's copies: one keeper per server, for as long as the server is protected, whatever
// becomes of the actor that looks after it. Threads: any.

#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "agent-failover/history/keeper.hpp"
#include "understudy/v1/server.pb.h"
#include "understudy/v1/supervisor.pb.h"

namespace understudy::server {

// How much is kept of a server: its own values, else the settings', else 24 hours and 1 GiB. Empty: nothing.
std::optional<history::bounds> history_bounds(const v1::ServerSpec& spec, const v1::Settings& settings);

class histories {
 public:
  histories(os::file_system& fs, std::string data_dir) : fs_(fs), data_dir_(std::move(data_dir)) {}

  // With the bounds as they are now. Null: nothing is to be kept; then let go of the recorders and drop().
  std::shared_ptr<history::keeper> keep(const v1::ServerSpec& spec, const v1::Settings& settings);
  std::shared_ptr<history::keeper> find(const std::string& server) const;
  // What can be restored of each of a server's databases.
  std::vector<v1::DatabaseHistory> list(const v1::ServerSpec& spec) const;
  // Ends it and removes what was kept.
  void drop(const v1::ServerSpec& spec);
  // Ends it; what was kept stays.
  void forget(const std::string& server);

 private:
  os::file_system& fs_;
  const std::string data_dir_;
  mutable std::mutex mutex_;
  std::map<std::string, std::shared_ptr<history::keeper>> keepers_;
};

}  // namespace understudy::server
