#pragma once

#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "agent-primary/application/child_process.hpp"
#include "agent-primary/application/event_loop.hpp"

namespace understudy::application {

// What a command that ends by itself gave.
struct command_result {
  absl::Status status;  // OK: exit code 0; kAborted: another exit code or a signal; kDeadlineExceeded: killed
  std::string output;   // stdout and stderr, the first 8 KiB
};

// Runs one command at a time on a loop: a check, `systemctl`, a version. Used on the loop's thread;
// destroying it kills what runs and calls nothing.
class short_command {
 public:
  using answer = std::function<void(const command_result&)>;
  explicit short_command(event_loop& loop) : loop_(loop) {}
  ~short_command();
  short_command(const short_command&) = delete;
  short_command& operator=(const short_command&) = delete;

  bool running() const { return process_.pid != 0; }
  // Requires !running(). `done` is called later, also when it could not be started; then running() is false
  // again.
  void run(const process_setup& setup, std::chrono::milliseconds timeout, answer done);
  // Kills it without an answer.
  void abandon();

 private:
  void read_output();
  void ended();
  void finish(command_result result);

  event_loop& loop_;
  child_process process_;
  os::unique_fd output_;
  std::string text_;
  std::string name_;
  bool timed_out_ = false;
  event_loop::timer_id timer_ = 0;
  answer done_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

// "exited with status 1", "was killed by signal 9 (Killed)".
std::string describe_exit(int code, int status);

}  // namespace understudy::application
