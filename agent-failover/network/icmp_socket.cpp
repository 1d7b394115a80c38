#include "agent-failover/network/icmp_socket.hpp"

#include <linux/filter.h>
#include <linux/icmp.h>
#include <netinet/icmp6.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <time.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "common/status/errno_status.hpp"

namespace understudy::network {
namespace {

constexpr int receive_buffer = 1 << 20;  // replies of 256 targets while this process is not running

// Echo replies with our identifier. Raw IPv4 sockets see the IP header first, raw IPv6 ones do not.
int attach_filter(int fd, bool v6, std::uint16_t identifier) {
  sock_filter v4_code[] = {
      BPF_STMT(BPF_LDX | BPF_B | BPF_MSH, 0),  // X = length of the IP header
      BPF_STMT(BPF_LD | BPF_B | BPF_IND, 0),  BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ICMP_ECHOREPLY, 0, 3),
      BPF_STMT(BPF_LD | BPF_H | BPF_IND, 4),  BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, identifier, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, 0xffff),      BPF_STMT(BPF_RET | BPF_K, 0),
  };
  sock_filter v6_code[] = {
      BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 0), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ICMP6_ECHO_REPLY, 0, 3),
      BPF_STMT(BPF_LD | BPF_H | BPF_ABS, 4), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, identifier, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, 0xffff),     BPF_STMT(BPF_RET | BPF_K, 0),
  };
  sock_fprog program{static_cast<unsigned short>(v6 ? std::size(v6_code) : std::size(v4_code)),
                     v6 ? v6_code : v4_code};
  return ::setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program);
}

nanoseconds to_nanoseconds(const timespec& time) {
  return std::chrono::seconds{time.tv_sec} + nanoseconds{time.tv_nsec};
}

}  // namespace

absl::StatusOr<icmp_socket> icmp_socket::open(int family, bool raw, std::uint16_t identifier) {
  const bool v6 = family == AF_INET6;
  const char* subject = v6 ? "an ICMPv6 socket" : "an ICMP socket";
  os::unique_fd fd(::socket(family, (raw ? SOCK_RAW : SOCK_DGRAM) | SOCK_CLOEXEC | SOCK_NONBLOCK,
                            v6 ? int{IPPROTO_ICMPV6} : int{IPPROTO_ICMP}));
  if (!fd) {
    if (errno == EAFNOSUPPORT || errno == EPROTONOSUPPORT)
      return absl::UnimplementedError(std::string("the kernel does not offer ") + subject);
    return errno_status(errno, "open", subject);
  }
  const int on = 1;
  if (::setsockopt(fd.value(), SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof on) != 0)
    return errno_status(errno, "ask for time stamps on", subject);
  (void)::setsockopt(fd.value(), SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof receive_buffer);
  if (raw) {
    if (attach_filter(fd.value(), v6, identifier) != 0)
      return errno_status(errno, "attach a filter to", subject);
    // What came in between opening and filtering is dropped here, so that only echo replies are ever seen.
    char discard[256];
    while (::recv(fd.value(), discard, sizeof discard, 0) >= 0) {
    }
  }
  return icmp_socket(std::move(fd), v6, raw, identifier);
}

int icmp_socket::send(const ip_address& target, const echo_token& token) {
  const auto packet = encode_echo_request(v6_, identifier_, token);
  const socket_address to = to_socket_address(target);
  if (::sendto(fd_.value(), packet.data(), packet.size(), MSG_NOSIGNAL,
               reinterpret_cast<const sockaddr*>(&to.storage), to.size) < 0)
    return errno;
  return 0;
}

icmp_socket::reading icmp_socket::receive(received_reply& reply) {
  std::array<std::uint8_t, 512> packet;
  alignas(cmsghdr) char control[256];
  sockaddr_storage from{};
  iovec part{packet.data(), packet.size()};
  msghdr message{};
  message.msg_name = &from;
  message.msg_namelen = sizeof from;
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;

  const monotonic_time asked = monotonic_clock::now();
  const ssize_t got = ::recvmsg(fd_.value(), &message, 0);
  if (got < 0) {
    if (errno != EAGAIN)
      return reading::ignored;  // an error reported for an earlier packet; it is cleared now
    emptied_ = asked;
    return reading::empty;
  }
  std::span<const std::uint8_t> bytes(packet.data(), static_cast<std::size_t>(got));
  if (raw_ && !v6_) bytes = ipv4_payload(bytes);
  const auto parsed = parse_echo_reply(v6_, bytes);
  if (!parsed || (raw_ && parsed->identifier != identifier_)) return reading::ignored;

  reply.source = ip_address_of(from);
  reply.token = parsed->token;
  const monotonic_time now = monotonic_clock::now();
  reply.arrival = now;
  for (cmsghdr* head = CMSG_FIRSTHDR(&message); head != nullptr; head = CMSG_NXTHDR(&message, head)) {
    if (head->cmsg_level != SOL_SOCKET || head->cmsg_type != SCM_TIMESTAMPNS) continue;
    timespec stamp;
    std::memcpy(&stamp, CMSG_DATA(head), sizeof stamp);
    timespec wall;
    ::clock_gettime(CLOCK_REALTIME, &wall);
    // The stamp is wall clock time; only its distance from now is used, and never beyond what is possible, so
    // that a clock that was set in between cannot make a reply early or late by more than it waited here.
    const nanoseconds waited = to_nanoseconds(wall) - to_nanoseconds(stamp);
    reply.arrival = std::clamp(now - waited, std::min(emptied_, now), now);
  }
  return reading::reply;
}

}  // namespace understudy::network
