#pragma once

// The namespaces of one machine while it is powered, kept by a tiny first process (its "init", pid 1 inside).
// When that process ends, the kernel ends every other one with it; it ends by itself when this program dies.

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "common/os/unique_fd.hpp"
#include "tests/support/lab/command.hpp"
#include "tests/support/lab/private_tree.hpp"

namespace understudy::test {

class host_namespaces {
 public:
  // `network`: an open network namespace. `steps` are carried out in the new mount namespace.
  host_namespaces(os::unique_fd network, const std::string& host_name, const std::vector<mount_step>& steps);
  ~host_namespaces();  // kills everything; every program launched into it must be reaped right after
                       // kill_all()

  const namespace_handles& handles() const { return handles_; }
  pid_t init() const { return init_; }
  std::vector<pid_t> processes() const;  // all but the init, as seen from here
  void kill_all();

 private:
  pid_t init_ = -1;
  os::unique_fd lifeline_;
  namespace_handles handles_;
  ino_t process_namespace_ = 0;
};

// Runs `function` on a thread of its own inside the network namespace; what it throws is thrown here.
void call_in_network(int network, const std::function<void()>& function);

}  // namespace understudy::test
