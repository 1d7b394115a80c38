#pragma once

// One ICMP or ICMPv6 socket that lets through nothing but echo replies to us, with the kernel's receive time.

#include <array>
#include <cstdint>
#include <optional>
#include <span>

#include "absl/status/statusor.h"
#include "agent-failover/network/icmp_packet.hpp"
#include "agent-failover/network/prober.hpp"
#include "common/os/unique_fd.hpp"

namespace understudy::network {

struct received_reply {
  ip_address source;
  echo_token token;
  monotonic_time arrival;
};

// Not thread-safe. Never blocks.
class icmp_socket {
 public:
  // `family` AF_INET or AF_INET6, `raw` needs CAP_NET_RAW. UNIMPLEMENTED when the kernel has no such family.
  static absl::StatusOr<icmp_socket> open(int family, bool raw, std::uint16_t identifier);

  int fd() const { return fd_.value(); }
  bool raw() const { return raw_; }

  int send(const ip_address& target, const echo_token& token);  // 0 or errno

  enum class reading { reply, ignored, empty };
  // The next packet. When it returns `empty`, everything that had arrived by then has been read.
  reading receive(received_reply& reply);

 private:
  icmp_socket(os::unique_fd fd, bool v6, bool raw, std::uint16_t identifier)
      : fd_(std::move(fd)), v6_(v6), raw_(raw), identifier_(identifier), emptied_(monotonic_clock::now()) {}
  os::unique_fd fd_;
  bool v6_;
  bool raw_;
  std::uint16_t identifier_;
  monotonic_time emptied_;  // when the socket was last seen empty: nothing in it can be older
};

}  // namespace understudy::network
