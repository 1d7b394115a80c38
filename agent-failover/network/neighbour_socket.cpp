#include "agent-failover/network/neighbour_socket.hpp"

#include <arpa/inet.h>
#include <linux/filter.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <netinet/icmp6.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <vector>

#include "agent-failover/network/arp_packet.hpp"
#include "agent-failover/network/ndp_packet.hpp"
#include "agent-failover/network/wire.hpp"
#include "common/status/errno_status.hpp"

namespace understudy::network {
namespace {

std::uint16_t protocol_of(const ip_address& address) {
  return htons(static_cast<std::uint16_t>(address.is_v6() ? ETH_P_IPV6 : ETH_P_ARP));
}

// Packets start at the network header (SOCK_DGRAM).
std::vector<sock_filter> filter_for(const ip_address& address) {
  const auto word = [&](std::size_t i) { return wire::take<std::uint32_t>(address.bytes, i * 4); };
  if (!address.is_v6())
    return {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 14),  // sender
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, word(0), 2, 0),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 24),  // target
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, word(0), 0, 1),
        BPF_STMT(BPF_RET | BPF_K, 0xffff),
        BPF_STMT(BPF_RET | BPF_K, 0),
    };
  return {
      BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 6),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, IPPROTO_ICMPV6, 0, 12),
      BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 40),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ND_NEIGHBOR_SOLICIT, 1, 0),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ND_NEIGHBOR_ADVERT, 0, 9),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 48),  // target
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, word(0), 0, 7),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 52),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, word(1), 0, 5),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 56),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, word(2), 0, 3),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 60),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, word(3), 0, 1),
      BPF_STMT(BPF_RET | BPF_K, 0xffff),
      BPF_STMT(BPF_RET | BPF_K, 0),
  };
}

std::optional<sighting> read_arp(std::span<const std::uint8_t> bytes, const ip_address& address) {
  const auto packet = parse_arp(bytes);
  if (!packet) return std::nullopt;
  if (packet->sender == address) return sighting{conflict_kind::claims, packet->sender_mac};
  if (packet->operation == arp_operation::request && packet->sender.is_unspecified() &&
      packet->target == address)
    return sighting{conflict_kind::asks, packet->sender_mac};
  return std::nullopt;  // an ordinary question for the address
}

std::optional<sighting> read_ndp(std::span<const std::uint8_t> bytes, const ip_address& address,
                                 const mac_address& from) {
  const auto packet = parse_ndp(bytes);
  if (!packet || !same_host(packet->target, address)) return std::nullopt;
  if (packet->kind == ndp_kind::advertisement)
    return sighting{conflict_kind::claims, packet->link.value_or(from)};
  if (packet->source.is_unspecified()) return sighting{conflict_kind::asks, from};
  return std::nullopt;
}

}  // namespace

absl::StatusOr<neighbour_socket> neighbour_socket::open(const adapter& link, const ip_address& address) {
  // Protocol 0: nothing arrives before the filter is in place.
  os::unique_fd fd(::socket(AF_PACKET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return errno_status(errno, "open a packet socket on", link.name);
  auto filter = filter_for(address);
  const sock_fprog program{static_cast<unsigned short>(filter.size()), filter.data()};
  if (::setsockopt(fd.value(), SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program) != 0)
    return errno_status(errno, "attach a filter to a packet socket on", link.name);
  if (address.is_v6()) {
    // Another machine's duplicate address probe goes to this group.
    packet_mreq group{};
    group.mr_ifindex = link.index;
    group.mr_type = PACKET_MR_MULTICAST;
    group.mr_alen = 6;
    const mac_address mac = multicast_mac(solicited_node_multicast(address));
    std::copy(mac.bytes.begin(), mac.bytes.end(), group.mr_address);
    if (::setsockopt(fd.value(), SOL_PACKET, PACKET_ADD_MEMBERSHIP, &group, sizeof group) != 0)
      return errno_status(errno, "listen to neighbour solicitations on", link.name);
  }
  sockaddr_ll where{};
  where.sll_family = AF_PACKET;
  where.sll_protocol = protocol_of(address);
  where.sll_ifindex = link.index;
  if (::bind(fd.value(), reinterpret_cast<const sockaddr*>(&where), sizeof where) != 0)
    return errno_status(errno, "bind a packet socket to", link.name);
  return neighbour_socket(std::move(fd), link, address);
}

int neighbour_socket::send(std::span<const std::uint8_t> packet, const mac_address& to) {
  sockaddr_ll where{};
  where.sll_family = AF_PACKET;
  where.sll_protocol = protocol_of(address_);
  where.sll_ifindex = index_;
  where.sll_halen = 6;
  std::copy(to.bytes.begin(), to.bytes.end(), where.sll_addr);
  const ssize_t sent = ::sendto(fd_.value(), packet.data(), packet.size(), MSG_NOSIGNAL,
                                reinterpret_cast<const sockaddr*>(&where), sizeof where);
  return sent < 0 ? errno : 0;
}

int neighbour_socket::send_probe() {
  if (!address_.is_v6()) return send(encode_arp(arp_probe(self_, address_)), broadcast_mac);
  const ndp_packet probe = duplicate_address_probe(address_);
  return send(encode_ndp(probe), multicast_mac(probe.destination));
}

int neighbour_socket::send_announcement() {
  if (address_.is_v6()) {
    const ndp_packet packet = unsolicited_advertisement(self_, address_);
    return send(encode_ndp(packet), multicast_mac(packet.destination));
  }
  const int error =
      send(encode_arp(arp_announcement(arp_operation::request, self_, address_)), broadcast_mac);
  if (error != 0) return error;
  return send(encode_arp(arp_announcement(arp_operation::reply, self_, address_)), broadcast_mac);
}

std::optional<sighting> neighbour_socket::receive() {
  std::array<std::uint8_t, 512> buffer;
  while (true) {
    sockaddr_ll from{};
    socklen_t size = sizeof from;
    const ssize_t got =
        ::recvfrom(fd_.value(), buffer.data(), buffer.size(), 0, reinterpret_cast<sockaddr*>(&from), &size);
    if (got < 0) {
      if (errno == EINTR || errno == ENETDOWN) continue;  // "went down" is said once
      return std::nullopt;
    }
    if (from.sll_pkttype == PACKET_OUTGOING) continue;
    mac_address source;
    std::copy_n(from.sll_addr, 6, source.bytes.begin());
    const std::span<const std::uint8_t> bytes(buffer.data(), static_cast<std::size_t>(got));
    const auto seen = address_.is_v6() ? read_ndp(bytes, address_, source) : read_arp(bytes, address_);
    if (seen) return seen;
  }
}

}  // namespace understudy::network
