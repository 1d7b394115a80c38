#pragma once

// The addresses that this host adopts for one server: all of them or none. Threads: one at a time (the
// server's worker); the conflict callback comes on a claim's thread and must only post onwards.

#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "agent-failover/network/address_claim.hpp"
#include "understudy/v1/server.pb.h"
#include "understudy/v1/supervisor.pb.h"

namespace understudy::server {

// The addresses that a takeover adopts: the service addresses, or the control address itself on the classic
// layout, or none without assume_ip.
std::vector<std::string> adopted_addresses(const v1::ServerSpec& spec);

class service_addresses {
 public:
  using conflict_callback = std::function<void(const std::string& address, const network::address_conflict&)>;

  service_addresses(const v1::ServerSpec& spec, const v1::Settings& settings, conflict_callback on_conflict);

  // Asks on the wire whether anybody holds one of them. kAlreadyExists names the holder's MAC. An address
  // that we hold already counts as free.
  absl::Status probe(const network::acd_timings& timings);
  absl::Status add();
  void announce();
  // Removes what we added, and only that. Idempotent.
  absl::Status release();
  bool held() const { return held_; }

 private:
  struct item {
    std::string text;
    std::string adapter;
    network::ip_network network;
    std::unique_ptr<network::address_claim> claim;
    std::mutex mutex;
    std::condition_variable probed;
    bool reported = false;
    network::probe_report report;
  };
  absl::Status open(item& one);

  const v1::Settings settings_;
  const conflict_callback on_conflict_;
  std::vector<std::unique_ptr<item>> items_;
  bool held_ = false;
};

}  // namespace understudy::server
