#pragma once

// What the kernel knows of this host's network adapters, addresses, routes and neighbours (rtnetlink). All
// functions are stateless, may be called from any thread and look at the calling thread's network namespace.

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "agent-failover/network/ip_address.hpp"
#include "agent-failover/network/mac_address.hpp"

namespace understudy::network {

struct adapter_address {
  ip_network network;
  bool tentative = false;  // IPv6: duplicate address detection has not finished
  bool duplicate = false;  // IPv6: the kernel found another holder (dadfailed)
  bool secondary = false;  // IPv4: depends on another address of the same subnet
  bool ours = false;       // added by address_holder (it marks its addresses in the kernel)
  bool permanent = true;   // false: has a lifetime (DHCP, router advertisements)
};

struct adapter {
  int index = 0;
  std::string name;         // "eth0"
  std::string description;  // "virtio_net at 0000:00:03.0", "veth", "bridge"
  mac_address mac;
  bool loopback = false;
  bool ethernet = true;  // false: neither ARP nor neighbour discovery make sense on it
  bool up = false;       // administratively
  bool carrier = false;  // has a link
  std::uint32_t mtu = 0;
  std::vector<adapter_address> addresses;
};

absl::StatusOr<std::vector<adapter>> list_adapters();
absl::StatusOr<adapter> find_adapter(const std::string& name);  // NOT_FOUND names the adapters there are

// True when a connected route (no gateway, not the default route) leads to `address` through this adapter:
// the condition for adopting it there.
absl::StatusOr<bool> on_link(const std::string& adapter_name, const ip_address& address);

// The adapter by which this host sends to `address`, gateway or not; UNAVAILABLE when there is no route.
absl::StatusOr<std::string> adapter_towards(const ip_address& address);

struct gateway {
  ip_address address;
  std::string adapter;
  std::uint32_t metric = 0;
};
// Default gateways, the preferred (lowest metric) first, IPv4 before IPv6; empty when there is none.
absl::StatusOr<std::vector<gateway>> default_gateways();

// The MAC the kernel last saw for an on-link address. Nothing when it has no entry or a failed one, so a
// caller that needs the MAC of a dead machine keeps it while the machine lives.
absl::StatusOr<std::optional<mac_address>> neighbour_mac(const std::string& adapter_name,
                                                         const ip_address& address);

// Tells of every change of links and addresses. The callback runs on the watcher's own thread; it is given no
// details, for it is to look again with list_adapters(). Bursts are merged within 20 ms.
class adapter_watcher {
 public:
  static absl::StatusOr<std::unique_ptr<adapter_watcher>> open(std::function<void()> on_change);
  virtual ~adapter_watcher() = default;  // stops the thread
};

}  // namespace understudy::network
