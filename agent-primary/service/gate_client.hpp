#pragma once

#include <functional>
#include <memory>
#include <string>

#include "agent-primary/lease/gate.hpp"
#include "common/rpc/tls_files.hpp"

namespace understudy::service {

// Asks a failover host whether this primary may run (Gate.AskToRun).
class gate_client {
 public:
  gate_client(std::string own_name, rpc::tls_files tls);
  ~gate_client();
  // Cancels calls under way and waits for them; ask() then does nothing.
  void close();

  // One question to `address`, with a second's deadline. `answer` is called on a gRPC thread with a granted
  // or fenced event; a host that cannot be reached gives none.
  void ask(const std::string& address, const lease::right_record& right,
           std::function<void(lease::gate_event)> answer);

 private:
  class implementation;
  std::shared_ptr<implementation> implementation_;
};

}  // namespace understudy::service
