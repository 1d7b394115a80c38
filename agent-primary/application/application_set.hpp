#pragma once

// The applications of one primary, or of one stand-in: started in order, stopped in reverse, supervised in
// between.
//
// Applications outlive the daemon: a command runs detached in its own session, and its process id with its
// start time is durable before it executes its first instruction. A set opened over the same directory finds
// it again (never a stranger with a reused id), so that a daemon may crash and restart under a running
// application.
//
// Threads: one of its own, which sleeps unless something happens (pidfds and timers, no polling but the
// checks). Calls come from any thread and return at once; answers and on_change are called on that thread,
// must be quick, and may call back. With CAF: the answer does one anon_send. The blocking forms are for tests
// and step lists that own a thread; they must not be called from an answer.

#include <chrono>
#include <functional>
#include <future>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "agent-primary/application/application_definition.hpp"

namespace understudy::application {

struct set_options {
  std::string state_directory;  // for process records and logs; created
  std::string subject;          // for the log: the server's name
  std::string systemctl = "/usr/bin/systemctl";
  std::string runtime_units = "/run/systemd/system";  // where drop-ins with binds and environment go
  // A state changed: the new one of every application. On the set's thread.
  std::function<void(const std::vector<application_status>&)> on_change;
};

enum class command { start, stop, restart };

class application_set {
 public:
  using answer = std::function<void(const absl::Status&)>;

  // Re-adopts what runs from an earlier life. Fails on a bad definition (names it) or an unusable directory.
  static absl::StatusOr<std::unique_ptr<application_set>> open(
      std::vector<application_definition> definitions, set_options options);
  // Leaves running applications running. Answers still open are answered with kCancelled.
  ~application_set();
  application_set(const application_set&) = delete;
  application_set& operator=(const application_set&) = delete;

  // In order; each next one when the one before runs (its check succeeded). Answered when all run, or with
  // the first failure, named; those started before it stay up. Already running ones are left alone.
  void start_all(answer done);
  // In reverse; each next one when the one before is gone. `grace` instead of each one's own, if not zero; a
  // shorter grace takes effect on a stop under way too. Answered when nothing runs: always OK unless systemd
  // refuses.
  void stop_all(std::chrono::milliseconds grace, answer done);
  // kNotFound for an unknown name; "" means all.
  void control(const std::string& name, command what, answer done);

  absl::Status wait_start_all(std::chrono::milliseconds deadline);
  absl::Status wait_stop_all(std::chrono::milliseconds grace, std::chrono::milliseconds deadline);
  absl::Status wait_control(const std::string& name, command what, std::chrono::milliseconds deadline);

  // In start order.
  std::vector<application_status> status() const;
  // Nothing runs, and nothing is waiting to be restarted.
  bool all_down() const;
  const std::vector<application_definition>& definitions() const;

  // Notes an event that others decided: "kept down: the failover host stands in". Shown by stopped
  // applications.
  void note_down(const std::string& why);

  // Runs the version command (10 s at most): its first line. Blocks; any thread but the set's.
  absl::StatusOr<std::string> version(const std::string& name);

 private:
  class implementation;
  explicit application_set(std::unique_ptr<implementation> parts);
  std::unique_ptr<implementation> implementation_;
};

}  // namespace understudy::application
