#include "agent-failover/network/netlink.hpp"

#include <sys/socket.h>
#include <sys/time.h>

#include <cerrno>

#include "common/status/errno_status.hpp"

namespace understudy::network {
namespace {

constexpr int attempts_at_a_consistent_dump = 5;
constexpr std::size_t receive_buffer = 64 * 1024;  // the kernel fills up to 32 KiB per dump message

}  // namespace

void for_each_attribute(std::span<const std::uint8_t> attributes,
                        const std::function<void(std::uint16_t, std::span<const std::uint8_t>)>& visit) {
  while (attributes.size() >= NLA_HDRLEN) {
    nlattr head;
    std::memcpy(&head, attributes.data(), sizeof head);
    if (head.nla_len < NLA_HDRLEN || head.nla_len > attributes.size()) return;
    visit(head.nla_type & NLA_TYPE_MASK, attributes.subspan(NLA_HDRLEN, head.nla_len - NLA_HDRLEN));
    const std::size_t step = NLA_ALIGN(head.nla_len);
    if (step >= attributes.size()) return;
    attributes = attributes.subspan(step);
  }
}

absl::StatusOr<netlink_socket> netlink_socket::open(std::uint32_t groups) {
  os::unique_fd fd(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE));
  if (!fd) return errno_status(errno, "open", "a netlink socket");
  const int on = 1;
  (void)::setsockopt(fd.value(), SOL_NETLINK, NETLINK_CAP_ACK, &on, sizeof on);
  const timeval limit{5, 0};  // the kernel answers at once; never hang on a lost answer
  (void)::setsockopt(fd.value(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  sockaddr_nl address{};
  address.nl_family = AF_NETLINK;
  address.nl_groups = groups;
  if (::bind(fd.value(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
    return errno_status(errno, "bind", "a netlink socket");
  return netlink_socket(std::move(fd));
}

int netlink_socket::request(netlink_request request) {
  nlmsghdr header;
  std::memcpy(&header, request.bytes().data(), sizeof header);
  header.nlmsg_flags |= NLM_F_ACK;
  std::memcpy(request.bytes().data(), &header, sizeof header);
  return converse(request, [](std::uint16_t, std::span<const std::uint8_t>) {});
}

absl::Status netlink_socket::dump(netlink_request request, std::string_view operation,
                                  const message_function& visit) {
  if (const int error = converse(request, visit); error != 0)
    return errno_status(error, operation, "from the kernel (rtnetlink)");
  return absl::OkStatus();
}

int netlink_socket::converse(netlink_request& request, const message_function& visit) {
  std::vector<std::uint8_t> buffer(receive_buffer);
  for (int attempt = 1;; ++attempt) {
    // Messages are collected first: a dump that was interrupted by a change must not be half visited.
    std::vector<std::pair<std::uint16_t, std::vector<std::uint8_t>>> messages;
    nlmsghdr header;
    std::memcpy(&header, request.bytes().data(), sizeof header);
    header.nlmsg_len = static_cast<std::uint32_t>(request.bytes().size());
    header.nlmsg_seq = ++sequence_;
    std::memcpy(request.bytes().data(), &header, sizeof header);
    if (::send(fd_.value(), request.bytes().data(), request.bytes().size(), 0) < 0) return errno;

    bool interrupted = false;
    bool done = false;
    const bool many = (header.nlmsg_flags & NLM_F_DUMP) == NLM_F_DUMP;
    while (!done) {
      const ssize_t got = ::recv(fd_.value(), buffer.data(), buffer.size(), 0);
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) return errno == EAGAIN ? ETIMEDOUT : errno;
      std::span<const std::uint8_t> rest(buffer.data(), static_cast<std::size_t>(got));
      while (rest.size() >= sizeof(nlmsghdr) && !done) {
        nlmsghdr head;
        std::memcpy(&head, rest.data(), sizeof head);
        if (head.nlmsg_len < sizeof head || head.nlmsg_len > rest.size()) return EBADMSG;
        const auto payload = rest.subspan(sizeof head, head.nlmsg_len - sizeof head);
        if (head.nlmsg_seq == sequence_) {
          interrupted |= (head.nlmsg_flags & NLM_F_DUMP_INTR) != 0;
          if (head.nlmsg_type == NLMSG_ERROR) {
            nlmsgerr error{};
            if (!read_fixed(payload, error.error)) return EBADMSG;
            if (error.error != 0) return -error.error;
            done = true;
          } else if (head.nlmsg_type == NLMSG_DONE) {
            done = true;
          } else {
            messages.emplace_back(head.nlmsg_type, std::vector<std::uint8_t>(payload.begin(), payload.end()));
            done = !many && (header.nlmsg_flags & NLM_F_ACK) == 0;
          }
        }
        const std::size_t step = NLMSG_ALIGN(head.nlmsg_len);
        rest = step >= rest.size() ? std::span<const std::uint8_t>{} : rest.subspan(step);
      }
    }
    if (interrupted && attempt < attempts_at_a_consistent_dump) continue;
    for (const auto& [type, payload] : messages) visit(type, payload);
    return 0;
  }
}

}  // namespace understudy::network
