#pragma once

// A primary, a failover host that may be killed and started again, and a stand-in application that notices
// when it does not run alone.

#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "tests/support/host/fake_primary.hpp"
#include "tests/support/host/test_host.hpp"
#include "tests/support/temporary_directory.hpp"

namespace understudy::test {

// One protected server named `name`.
struct world_server {
  world_server(const std::string& directory, std::string name);
  // Processes of its stand-in that run now.
  std::vector<int> stand_ins() const;
  void kill_stand_ins() const;
  // Rows that its stand-ins have committed, as they say: each one when it starts.
  int stand_in_rows() const;
  // The same, of a database that they make beside `main`.
  int made_rows() const;

  const std::string name;
  const std::string place;  // a directory of its own
  fake_primary primary;
  v1::ServerSpec spec;
  bool answers_pings = true;

 private:
  int lines_of(const char* file) const;
};

class host_world {
 public:
  explicit host_world(const std::vector<std::string>& names = {"p1"});
  ~host_world();

  void start(bool rebooted);
  void stop() { host.reset(); }

  // Pings until the condition holds; false after 20 s.
  bool until(const std::function<bool()>& condition);
  // The state of the server begins with this, e.g. "StandingIn".
  bool is(const std::string& state, const std::string& server = "p1") const;
  // The newest operation in words, for a test that failed.
  std::string operation() const;
  api::command command(api::verb what, const std::string& server = "p1") const;
  // Replicates from live until the server is protected.
  bool protect(const std::string& server = "p1");
  world_server& server(const std::string& name = "p1");

  // What must never have happened and did: two stand-ins at once, a stand-in beside the primary's
  // application, an epoch that shrank, Monitoring while a stand-in runs.
  std::vector<std::string> violations() const;

  temporary_directory directory{where::memory};
  os::file_system* state_file_system = nullptr;
  std::string state_directory;
  std::vector<std::unique_ptr<world_server>> servers;
  std::unique_ptr<test_host> host;

 private:
  void look_at(const store::changes& commit);
  mutable std::mutex mutex_;
  std::vector<std::string> seen_;
  std::map<std::string, std::uint64_t> epochs_;
};

}  // namespace understudy::test
