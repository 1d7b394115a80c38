#pragma once

// A failover host, primaries and a client in a lab, with the real daemons. What operators do goes through
// understudyctl, run on the failover host.
//
// The first primary has the control address 10.78.0.11 and the service address 10.78.0.51, the second .12 and
// .52 and so on; the failover host has .9, the client .30, the gateway .254.

#include <chrono>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "tests/support/lab/lab.hpp"
#include "understudy/v1/supervisor.pb.h"

namespace understudy::test {

// A program of this build, found beside the running one.
std::string program(const std::string& name);

// What one primary runs and has protected.
struct protected_application {
  std::string name = "counter";
  std::string directory = "/var/lib/counter";  // private to each host
  std::string database = "/var/lib/counter/counter.db";
  std::string files = "/var/lib/counter/files";
  std::vector<std::string> start{};
  std::vector<std::string> check{};
  std::vector<std::string> environment{};
  std::string stop_grace = "5s";
};

// counter_app on port 7000.
protected_application counter_application();

struct system_options {
  std::vector<std::string> primaries = {"primary"};
  protected_application application = counter_application();
  std::string boot_wait = "5s";
  std::string mode = "all";
  std::vector<std::string> configuration_tables = {};
  std::string agent_more{};  // of the agents' configurations
};

struct ctl_result {
  int exit = -1;
  std::string output;  // stdout
  std::string error;   // stderr
  explicit operator bool() const { return exit == 0; }
};

class protected_system {
 public:
  explicit protected_system(system_options options = {});
  ~protected_system();  // stops the daemons

  lab& net() { return net_; }
  host& failover() { return net_["failover"]; }
  host& client() { return net_["client"]; }
  host& primary(const std::string& name = "primary") { return net_[name]; }
  const system_options& options() const { return options_; }
  std::string control_address(const std::string& primary = "primary") const;
  std::string service_address(const std::string& primary = "primary") const;

  // Writes the configuration if there is none yet and starts the daemon; returns when it serves. Throws with
  // its log when it does not.
  void start_host();
  void start_agent(const std::string& primary = "primary");
  process& host_daemon() { return *host_daemon_; }
  process& agent(const std::string& primary = "primary") { return agents_.at(primary); }
  void power_off(const std::string& primary = "primary");
  // Boots, and starts the agent as systemd would.
  void power_on(const std::string& primary = "primary");

  ctl_result ctl(const std::vector<std::string>& arguments,
                 std::chrono::milliseconds timeout = std::chrono::seconds{60});
  // As ctl; throws with what it said when it fails.
  std::string must(const std::vector<std::string>& arguments,
                   std::chrono::milliseconds timeout = std::chrono::seconds{60});
  // `server add` with the profile of these tests, and the first copy; `more` are further arguments.
  void protect(const std::string& primary = "primary", const std::vector<std::string>& more = {},
               bool assume_ip = true);

  std::optional<v1::ServerState> state(const std::string& primary = "primary");
  bool wait_state(const std::function<bool(const v1::ServerState&)>& wanted, std::chrono::milliseconds within,
                  const std::string& primary = "primary");
  bool wait_phase(const std::string& phase, std::chrono::milliseconds within = std::chrono::seconds{20},
                  const std::string& primary = "primary");
  bool wait_in_step(std::chrono::milliseconds within = std::chrono::seconds{20},
                    const std::string& primary = "primary");
  std::vector<v1::Event> events(const std::string& primary = "primary");
  // The newest event of a kind, if its id is above `after`.
  std::optional<v1::Event> event(const std::string& kind, const std::string& primary = "primary",
                                 std::uint64_t after = 0);
  bool wait_event(const std::string& kind, std::chrono::milliseconds within,
                  const std::string& primary = "primary", std::uint64_t after = 0);

  // Outside paths of what the stand-in works on and of what the primary has.
  std::filesystem::path copy_of(const std::string& path, const std::string& primary = "primary");
  std::filesystem::path on_primary(const std::string& path, const std::string& primary = "primary");
  // The ids of the counter's rows in a database file, sorted; reads a -wal beside it.
  static std::vector<std::string> counter_ids(const std::filesystem::path& database);
  bool owns_address(host& where, const std::string& address);
  // All that the daemons logged, for a failed test.
  std::string logs();

 private:
  int number_of(const std::string& primary) const;
  void write_configurations();

  system_options options_;
  lab net_;
  std::optional<process> host_daemon_;
  std::map<std::string, process> agents_;
};

// Rows of a query's first column.
std::vector<std::string> query(const std::filesystem::path& database, const std::string& sql);

}  // namespace understudy::test
