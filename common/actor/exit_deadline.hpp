#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>

namespace understudy::actors {

// A shutdown that hangs must not keep the machine from rebooting, nor systemd from restarting the daemon:
// armed when the shutdown begins, it ends the process with _exit(status) unless destroyed in time. What is
// durable is durable at every instant, so this loses nothing.
class exit_deadline {
 public:
  exit_deadline(std::chrono::milliseconds grace, int status, std::string what);
  ~exit_deadline();
  exit_deadline(const exit_deadline&) = delete;
  exit_deadline& operator=(const exit_deadline&) = delete;

 private:
  struct shared;
  std::shared_ptr<shared> shared_;
};

}  // namespace understudy::actors
