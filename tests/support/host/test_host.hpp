#pragma once

// One life of a failover host: everything between a start of the daemon and its end. The directory, with
// state.db and the copies, outlives it.

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "agent-failover/api/control.hpp"
#include "agent-failover/store/state_store.hpp"
#include "understudy/v1/server.pb.h"
#include "understudy/v1/supervisor.pb.h"

namespace understudy::os {
class file_system;
}

namespace understudy::test {

// What the journal does with a commit.
enum class journal_mode {
  works,
  fails,   // an error is answered, nothing is written
  stalls,  // nothing is written, nothing is answered
};

struct host_options {
  std::string directory;  // existing
  std::vector<v1::ServerSpec> servers;
  bool rebooted = false;
  std::string state_directory{};                 // of state.db; empty: `directory`
  os::file_system* state_file_system = nullptr;  // of state.db; null: the real one
  // Every commit that became durable, on the journal's thread.
  std::function<void(const store::changes&)> on_commit;
};

class test_host {
 public:
  explicit test_host(host_options options);
  // As kill -9 for the actors; stand-ins go on running.
  ~test_host();

  // After so many more commits the host is killed: the last of them is durable and never answered, and none
  // comes after it.
  void kill_after(int commits);
  // It was; or state.db could not be written.
  bool killed() const;
  int commits() const;
  void set_journal(journal_mode mode);
  // One ping of every server that is pinged now: answered or missed.
  void ping(const std::function<bool(const std::string& server)>& answers);

  v1::ServerState state(const std::string& server) const;
  v1::HostState host() const;
  std::vector<v1::Event> events(const std::string& server) const;
  std::vector<v1::Operation> operations() const;
  // Waits for the decision, for at most `within`; nothing when none came.
  std::optional<api::command_result> command(const api::command& request,
                                             std::chrono::milliseconds within = std::chrono::seconds{20});

 private:
  class implementation;
  std::unique_ptr<implementation> implementation_;
};

}  // namespace understudy::test
