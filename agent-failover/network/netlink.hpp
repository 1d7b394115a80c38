#pragma once

// The few words of rtnetlink that this folder speaks: requests that are acknowledged, and dumps.

#include <linux/netlink.h>

#include <cstdint>
#include <cstring>
#include <functional>
#include <span>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/os/unique_fd.hpp"

namespace understudy::network {

// A request under construction: header, one fixed struct, attributes.
class netlink_request {
 public:
  template <class Fixed>
  netlink_request(std::uint16_t type, std::uint16_t flags, const Fixed& fixed) {
    nlmsghdr header{};
    header.nlmsg_type = type;
    header.nlmsg_flags = static_cast<std::uint16_t>(flags | NLM_F_REQUEST);
    append(&header, sizeof header);
    append(&fixed, sizeof fixed);
  }
  netlink_request& attribute(std::uint16_t type, const void* data, std::size_t size) {
    const nlattr head{static_cast<std::uint16_t>(NLA_HDRLEN + size), type};
    append(&head, sizeof head);
    append(data, size);
    return *this;
  }
  template <class Value>
  netlink_request& attribute(std::uint16_t type, const Value& value) {
    return attribute(type, &value, sizeof value);
  }
  std::vector<std::uint8_t>& bytes() { return bytes_; }

 private:
  void append(const void* data, std::size_t size) {
    const auto* from = static_cast<const std::uint8_t*>(data);
    bytes_.insert(bytes_.end(), from, from + size);
    bytes_.resize(NLMSG_ALIGN(bytes_.size()));
  }
  std::vector<std::uint8_t> bytes_;
};

// Reads a fixed struct in front of a message's payload; false when the payload is shorter.
template <class Fixed>
bool read_fixed(std::span<const std::uint8_t> payload, Fixed& fixed) {
  if (payload.size() < sizeof fixed) return false;
  std::memcpy(&fixed, payload.data(), sizeof fixed);
  return true;
}

// Calls `visit(type, data)` for every whole attribute; stops at the first that does not fit.
void for_each_attribute(std::span<const std::uint8_t> attributes,
                        const std::function<void(std::uint16_t, std::span<const std::uint8_t>)>& visit);
// The same, for the attributes that follow a fixed struct of `fixed_size` bytes.
inline void for_each_attribute(
    std::span<const std::uint8_t> payload, std::size_t fixed_size,
    const std::function<void(std::uint16_t, std::span<const std::uint8_t>)>& visit) {
  const std::size_t start = NLMSG_ALIGN(fixed_size);
  if (payload.size() > start) for_each_attribute(payload.subspan(start), visit);
}

// Not thread-safe. Belongs to the network namespace of the thread that opened it.
class netlink_socket {
 public:
  using message_function = std::function<void(std::uint16_t type, std::span<const std::uint8_t> payload)>;

  static absl::StatusOr<netlink_socket> open(std::uint32_t groups = 0);

  // Sends and waits for the acknowledgement: 0 or the kernel's errno.
  int request(netlink_request request);
  // A request with one answer message (NLM_F_DUMP in its flags: many). `operation` is for the error's text.
  absl::Status dump(netlink_request request, std::string_view operation, const message_function& visit);

  int fd() const { return fd_.value(); }

 private:
  explicit netlink_socket(os::unique_fd fd) : fd_(std::move(fd)) {}
  int converse(netlink_request& request, const message_function& visit);
  os::unique_fd fd_;
  std::uint32_t sequence_ = 0;
};

}  // namespace understudy::network
