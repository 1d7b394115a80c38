#pragma once

// Adds addresses to adapters and takes exactly those away again. An address is marked in the kernel as ours
// (IFA_PROTO, Linux 5.18), so the undo is exact after a crash too, without a record of our own; on older
// kernels the caller's record decides. Any thread; works in the calling thread's network namespace.

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "agent-failover/network/ip_address.hpp"

namespace understudy::network {

enum class address_presence {
  added,          // it was not there; it is ours now
  already_ours,   // added by an earlier call or before a crash
  already_there,  // somebody else added it (the administrator, DHCP); ensure_removed will leave it alone
};
const char* to_string(address_presence presence);

struct add_options {
  bool source = false;  // true: may become the source of this host's own new connections (IPv6; an IPv4
                        // address in an existing subnet never does)
};

// Idempotent. IPv6 addresses are added without kernel DAD, for the caller has probed; an entry that the
// kernel has already marked as duplicate is ALREADY_EXISTS. NOT_FOUND: no such adapter. PERMISSION_DENIED:
// CAP_NET_ADMIN.
absl::StatusOr<address_presence> ensure_added(const std::string& adapter_name, const ip_network& network,
                                              add_options options = {});

// Idempotent. Removes the address only if it bears our mark, or if `recorded_as_ours` says that a former
// ensure_added returned `added`. Other addresses of the subnet that the kernel would drop with it are put
// back.
absl::Status ensure_removed(const std::string& adapter_name, const ip_network& network,
                            bool recorded_as_ours = false);

// Every address with our mark, on any adapter: what a crashed daemon may have left behind.
struct held_address {
  std::string adapter;
  ip_network network;
};
absl::StatusOr<std::vector<held_address>> held_addresses();

}  // namespace understudy::network
