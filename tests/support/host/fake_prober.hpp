#pragma once

// A prober that sends nothing: tests say what came of each ping.

#include <mutex>
#include <set>
#include <string>

#include "agent-failover/network/prober.hpp"

namespace understudy::test {

class fake_prober final : public network::prober {
 public:
  absl::Status add(const std::string& target, const network::ip_address&, network::probe_timing) override {
    std::lock_guard lock(mutex_);
    pinged_.insert(target);
    return absl::OkStatus();
  }
  absl::Status update(const std::string&, const network::ip_address&, network::probe_timing) override {
    return absl::OkStatus();
  }
  void remove(const std::string& target) override { pause(target); }
  void pause(const std::string& target) override {
    std::lock_guard lock(mutex_);
    pinged_.erase(target);
  }
  void resume(const std::string& target) override {
    std::lock_guard lock(mutex_);
    pinged_.insert(target);
  }
  network::prober_statistics statistics() override { return {}; }

  bool pings(const std::string& target) const {
    std::lock_guard lock(mutex_);
    return pinged_.contains(target);
  }

 private:
  mutable std::mutex mutex_;
  std::set<std::string> pinged_;
};

}  // namespace understudy::test
