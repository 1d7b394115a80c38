#pragma once

// Keeps the agent's list of databases: those of the configuration, and those that its paths with wildcards
// find, as they appear. One that was found and is gone for a minute leaves the list; its copy stays.

#include <chrono>
#include <condition_variable>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "agent-primary/service/agent_config.hpp"

namespace understudy::service {

struct agent_parts;

class database_keeper {
 public:
  // `changed` follows a change of parts.databases(), and of which databases are damaged. It is called by the
  // keeper's thread or by configure().
  database_keeper(agent_parts& parts, std::function<void()> changed);
  ~database_keeper();

  // The list as it is configured; returns when parts.databases() has what is there now.
  void configure(std::vector<database_config> configured);
  // From now on looks three times a second, less often where a look takes long.
  void start();

 private:
  void run();
  void look(bool keep);
  void look_for_damage();

  agent_parts& parts_;
  const std::function<void()> changed_;
  std::mutex looking_;  // one look at a time
  std::vector<database_config> configured_;
  std::uint64_t damaged_pages_ = 0;
  std::map<std::string, std::chrono::steady_clock::time_point> missing_;  // found once, and not there since
  std::mutex mutex_;
  std::condition_variable stopped_;
  bool stop_ = false;
  std::thread thread_;
};

}  // namespace understudy::service
