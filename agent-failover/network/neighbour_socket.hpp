#pragma once

// Speaks and hears ARP, or neighbour discovery, about one address on one adapter.

#include <optional>
#include <span>

#include "absl/status/statusor.h"
#include "agent-failover/network/adapters.hpp"
#include "agent-failover/network/address_claim.hpp"
#include "common/os/unique_fd.hpp"

namespace understudy::network {

struct sighting {
  conflict_kind kind = conflict_kind::claims;
  mac_address mac;
};

// Not thread-safe. Never blocks.
class neighbour_socket {
 public:
  // In the calling thread's network namespace. A kernel filter lets through only what concerns `address`.
  static absl::StatusOr<neighbour_socket> open(const adapter& link, const ip_address& address);

  int fd() const { return fd_.value(); }
  int send_probe();         // 0 or errno
  int send_announcement();  // 0 or errno

  // The next sign of another machine that uses or wants the address; nothing when all was read. Our own
  // frames are not seen; those of this host's other adapters are, and are the caller's to recognise.
  std::optional<sighting> receive();

 private:
  neighbour_socket(os::unique_fd fd, const adapter& link, const ip_address& address)
      : fd_(std::move(fd)), index_(link.index), self_(link.mac), address_(address) {}
  int send(std::span<const std::uint8_t> packet, const mac_address& to);

  os::unique_fd fd_;
  int index_;
  mac_address self_;
  ip_address address_;
};

}  // namespace understudy::network
