#pragma once

// What an application is and how it does, without a word about how it is run. Both daemons use this folder:
// the agent for the applications of its primary, the failover host for stand-ins.

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

namespace understudy::application {

// A whole directory shown at another path: {"/var/lib/understudy/servers/a/root/var/lib/pbx",
// "/var/lib/pbx"}.
struct bind_mount {
  std::string source;
  std::string target;  // must exist; created as a directory if it does not
  friend bool operator==(const bind_mount&, const bind_mount&) = default;
};

struct application_definition {
  std::string name;                      // unique in its set; letters, digits and "-_." (it names files)
  std::string unit;                      // a systemd unit, or
  std::vector<std::string> start;        // a command that stays in the foreground
  std::vector<std::string> check;        // exit 0 means that it serves; empty: running is enough
  std::vector<std::string> version;      // prints its version; the first line counts
  std::vector<std::string> environment;  // NAME=VALUE, over a clean environment
  std::string working_directory;         // empty: "/"
  std::string user;                      // empty: the daemon's
  std::vector<bind_mount> binds;  // seen by the application and its check only (private mount namespace)

  std::chrono::milliseconds stop_grace{10'000};     // from SIGTERM to SIGKILL of its process group
  std::chrono::milliseconds start_timeout{60'000};  // for the first successful check, or `systemctl start`
  std::chrono::milliseconds check_interval{5'000};
  std::chrono::milliseconds check_timeout{5'000};     // then the check is killed and counts as failed
  std::chrono::milliseconds first_restart{1'000};     // after an unexpected end; doubles up to
  std::chrono::milliseconds longest_restart{60'000};  // and starts anew after a minute of running
  friend bool operator==(const application_definition&, const application_definition&) = default;
};

enum class application_state {
  stopped,    // not running, and not meant to
  starting,   // started, its check has not succeeded yet
  running,    // running, and serving as far as its check tells
  stopping,   // asked to stop
  failed,     // ended by itself, or could not be started; started again after a pause
  unhealthy,  // running, but its check fails
};
const char* to_string(application_state state);

struct application_status {
  std::string name;
  application_state state = application_state::stopped;
  std::string last_event;  // "started", "exited with status 1", "kept down: the failover host stands in"
  std::chrono::system_clock::time_point since;
  std::int32_t pid = 0;        // of the main process; 0: none
  std::uint32_t restarts = 0;  // after unexpected ends, since the last start on request

  bool up() const {
    return state == application_state::starting || state == application_state::running ||
           state == application_state::unhealthy || state == application_state::stopping;
  }
};

}  // namespace understudy::application
