#pragma once

// A small network of machines on one kernel, for tests and demonstrations. Every host has its own network,
// mount, process and host-name namespace; all hang on one switch (a bridge in a namespace of its own). Hosts
// may use the same absolute paths: the private ones are bound, per host, to directories under host::root().
//
//   int main(int argc, char** argv) { lab::become_root(); ... }      // first, before any thread
//
//   lab net({.hosts = {{.name = "primary", .addresses = {"10.77.0.1/24", "fd77::1/64"}},
//                      {.name = "failover", .addresses = {"10.77.0.9/24", "fd77::9/64"}}},
//            .gateway = "10.77.0.254/24"});
//   auto& primary = net["primary"];
//   process agent = primary.spawn({"/path/understudy-agent", "--config", "/etc/understudy/agent.toml"});
//   primary.power_off();
//
// A failure to set up throws std::runtime_error with what was tried: this is test support, and nothing can go
// on. Not thread-safe, except call() and the processes. Destruction ends every process and removes
// everything; what a killed run left behind is removed by the next lab.

#include <sys/types.h>

#include <chrono>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace understudy::test {

// Makes namespaces possible: does nothing for root, else enters a user namespace where this process is root,
// with its own /run. Call at the start of main(), before any thread exists.
void become_root();

struct host_options {
  std::string name{};                    // also the host name inside; letters, digits and '-', at most 20
  std::vector<std::string> addresses{};  // "10.77.0.1/24", "fd77::1/64"
  std::string gateway{};                 // default route; empty: the lab's gateway address, if there is one
  // Absolute directories that this host has for itself. Those under /run and /tmp are emptied by power_on().
  std::vector<std::filesystem::path> private_directories = {"/etc/understudy", "/var/lib/understudy",
                                                            "/var/lib/understudy-agent", "/run"};
};

struct lab_options {
  std::vector<host_options> hosts{};
  std::vector<std::string> gateway{};  // addresses of a host "gateway", which answers pings; empty: none
};

struct run_result {
  int exit = -1;       // exit status; 128 + signal when killed
  std::string output;  // stdout and stderr
};

struct spawn_options {
  std::map<std::string, std::string> environment{};  // on top of ours
  std::string log{};  // name of the log file; empty: the program's name and a number
  std::filesystem::path directory = "/";
};

// A program running on a host, in a session of its own. Movable; destruction kills it.
class process {
 public:
  process() = default;
  process(process&&) noexcept;
  process& operator=(process&&) noexcept;
  ~process();

  pid_t pid() const;  // as seen from outside the host
  bool running();
  void signal(int number);
  int wait();  // its exit status; 128 + signal when killed
  // SIGTERM, then SIGKILL after `grace`; the exit status.
  int stop(std::chrono::milliseconds grace = std::chrono::seconds{5});
  std::string log() const;  // all of its stdout and stderr so far
  const std::filesystem::path& log_path() const;
  bool wait_for_log(const std::string& text, std::chrono::milliseconds within = std::chrono::seconds{10});

 private:
  friend class host;
  struct state;
  explicit process(std::shared_ptr<state> s);
  std::shared_ptr<state> state_;
};

class host {
 public:
  ~host();
  host(const host&) = delete;
  host& operator=(const host&) = delete;

  const std::string& name() const;
  std::string namespace_name() const;  // for `ip netns exec NAME tcpdump ...`
  std::string interface() const;       // "eth0"
  std::string mac() const;             // stays the same over power_off and power_on
  std::string boot_id() const;         // changes with every power_on
  // Where the host's private directories lie outside: root() / "etc/understudy" is its /etc/understudy.
  const std::filesystem::path& root() const;
  void write_file(const std::filesystem::path& path, const std::string& content);  // in a private directory
  std::string read_file(const std::filesystem::path& path) const;

  process spawn(const std::vector<std::string>& argv, const spawn_options& options = {});
  // Runs to its end; killed after `timeout` (exit 137).
  run_result run(const std::vector<std::string>& argv,
                 std::chrono::milliseconds timeout = std::chrono::seconds{30});
  run_result sh(const std::string& script);  // run({"/bin/sh", "-c", script})
  // Runs `function` on a thread inside the host's network; sockets and threads it makes stay there.
  void call(const std::function<void()>& function);

  void power_off();  // nothing more is sent, every process is gone, its kernel's network state with them
  void power_on();   // boots: configured addresses only, new boot id, what lay under a private /run or /tmp
                     // gone; starts no program
  bool powered() const;
  void freeze();  // SIGSTOP to every process on it
  void thaw();
  void cut();  // pulls the cable: no carrier on either side
  void restore();
  std::vector<pid_t> processes() const;
  pid_t init_pid() const;  // for `nsenter --target PID --net --mount --pid --uts`; -1 while switched off

 private:
  friend class lab;
  struct state;
  explicit host(std::unique_ptr<state> s);
  std::unique_ptr<state> state_;
};

class lab {
 public:
  explicit lab(lab_options options);
  ~lab();
  lab(const lab&) = delete;
  lab& operator=(const lab&) = delete;

  host& operator[](const std::string& name);
  std::vector<host*> hosts();
  const std::filesystem::path& directory() const;  // logs and per-host trees; removed with the lab

  // Frames between two hosts are dropped, in both directions or in one; links stay up, others are not
  // affected. Needs real root (XDP): throws inside a user namespace.
  static bool can_cut_between();
  void cut_between(const std::string& a, const std::string& b);
  void restore_between(const std::string& a, const std::string& b);
  void cut_one_way(const std::string& from, const std::string& to);

  struct state;

 private:
  std::unique_ptr<state> state_;
};

}  // namespace understudy::test
