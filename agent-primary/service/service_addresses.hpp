#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "agent-primary/lease/right_record.hpp"

namespace understudy::network {
class address_claim;
}

namespace understudy::service {

// The addresses that belong to the right to run, put on this machine's adapters and taken off again. Any
// thread. Idempotent; an adapter or prefix that is not said is that of the connected network in which the
// address lies. All are tried; the first failure is returned.
class service_addresses {
 public:
  service_addresses();
  ~service_addresses();  // leaves the addresses as they are

  // Announces them too: until then the neighbours know them at the machine that stood in. Where that is not
  // permitted (CAP_NET_RAW) they are added all the same, with a warning.
  absl::Status add(const std::vector<lease::service_address>& addresses);
  // Also those that somebody else configured: with the right gone, the address answers elsewhere.
  absl::Status remove(const std::vector<lease::service_address>& addresses);

 private:
  void announce(const std::string& address, const std::string& adapter, int prefix_length);

  std::mutex mutex_;
  std::map<std::string, std::unique_ptr<network::address_claim>> announcing_;  // by address
};

// Those of `addresses` that are present on the machine.
std::vector<std::string> present_service_addresses(const std::vector<lease::service_address>& addresses);

}  // namespace understudy::service
