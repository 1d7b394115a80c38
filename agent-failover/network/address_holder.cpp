#include "agent-failover/network/address_holder.hpp"

#include <fmt/format.h>
#include <linux/if_addr.h>
#include <linux/rtnetlink.h>

#include <algorithm>
#include <cerrno>
#include <optional>

#include "agent-failover/network/adapters.hpp"
#include "agent-failover/network/address_mark.hpp"
#include "agent-failover/network/netlink.hpp"
#include "common/status/errno_status.hpp"
#include "common/status/status_macros.hpp"

namespace understudy::network {
namespace {

constexpr std::uint32_t for_ever = 0xffffffff;

ifaddrmsg head_of(const adapter& link, const ip_network& network) {
  ifaddrmsg head{};
  head.ifa_family = static_cast<unsigned char>(network.address.family);
  head.ifa_prefixlen = static_cast<unsigned char>(network.prefix_length);
  head.ifa_index = static_cast<unsigned>(link.index);
  head.ifa_scope = network.address.is_link_local() ? RT_SCOPE_LINK : RT_SCOPE_UNIVERSE;
  return head;
}

void put_address(netlink_request& request, const ip_network& network) {
  request.attribute(IFA_LOCAL, network.address.bytes.data(), network.address.size());
  request.attribute(IFA_ADDRESS, network.address.bytes.data(), network.address.size());
}

// The adapter's IPv4 address messages, word for word, so that one the kernel drops can be put back as it was.
struct raw_address {
  ip_address address;
  std::vector<std::uint8_t> payload;
};
absl::StatusOr<std::vector<raw_address>> raw_ipv4_addresses(netlink_socket& socket, const adapter& link) {
  std::vector<raw_address> all;
  ifaddrmsg ask{};
  ask.ifa_family = AF_INET;
  UNDERSTUDY_RETURN_IF_ERROR(
      socket.dump(netlink_request(RTM_GETADDR, NLM_F_DUMP, ask), "read the addresses",
                  [&](std::uint16_t type, std::span<const std::uint8_t> payload) {
                    ifaddrmsg head;
                    if (type != RTM_NEWADDR || !read_fixed(payload, head) ||
                        head.ifa_index != static_cast<unsigned>(link.index))
                      return;
                    raw_address& found = all.emplace_back();
                    found.payload.assign(payload.begin(), payload.end());
                    for_each_attribute(payload, sizeof head,
                                       [&](std::uint16_t attribute, std::span<const std::uint8_t> data) {
                                         if (attribute == IFA_LOCAL && data.size() == 4)
                                           found.address = ip_address_from(AF_INET, data.data());
                                       });
                  }));
  return all;
}

// Deleting the first IPv4 address of a subnet takes the later ones along unless promote_secondaries is set.
absl::Status put_back_lost(netlink_socket& socket, const adapter& link, const ip_network& removed,
                           const std::vector<raw_address>& before) {
  UNDERSTUDY_ASSIGN_OR_RETURN(const auto after, raw_ipv4_addresses(socket, link));
  for (const raw_address& one : before) {
    if (one.address == removed.address) continue;
    if (std::any_of(after.begin(), after.end(),
                    [&](const raw_address& other) { return other.address == one.address; }))
      continue;
    ifaddrmsg head;
    if (!read_fixed(std::span<const std::uint8_t>(one.payload), head)) continue;
    netlink_request request(RTM_NEWADDR, NLM_F_CREATE, head);
    for_each_attribute(one.payload, sizeof head, [&](std::uint16_t type, std::span<const std::uint8_t> data) {
      if (type != IFA_FLAGS)
        request.attribute(type, data.data(), data.size());  // "secondary" is the kernel's to say
    });
    if (const int error = socket.request(std::move(request)); error != 0 && error != EEXIST)
      return errno_status(error, "put back", fmt::format("{} on {}", to_string(one.address), link.name));
  }
  return absl::OkStatus();
}

const adapter_address* find_address(const adapter& link, const ip_address& address) {
  for (const adapter_address& one : link.addresses)
    if (same_host(one.network.address, address)) return &one;
  return nullptr;
}

absl::StatusOr<address_presence> presence_of(const adapter& link, const adapter_address& present) {
  if (present.duplicate)
    return absl::AlreadyExistsError(fmt::format("{} on {} is held by another machine (duplicate address)",
                                                to_string(present.network.address), link.name));
  return present.ours ? address_presence::already_ours : address_presence::already_there;
}

}  // namespace

const char* to_string(address_presence presence) {
  switch (presence) {
    case address_presence::added:
      return "added";
    case address_presence::already_ours:
      return "already ours";
    case address_presence::already_there:
      return "already there";
  }
  return "?";
}

absl::StatusOr<address_presence> ensure_added(const std::string& adapter_name, const ip_network& network,
                                              add_options options) {
  UNDERSTUDY_ASSIGN_OR_RETURN(adapter link, find_adapter(adapter_name));
  if (const adapter_address* present = find_address(link, network.address))
    return presence_of(link, *present);
  UNDERSTUDY_ASSIGN_OR_RETURN(auto socket, netlink_socket::open());
  netlink_request request(RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, head_of(link, network));
  put_address(request, network);
  request.attribute(IFA_PROTO, address_mark);
  if (network.address.is_v6()) {
    request.attribute(IFA_FLAGS, std::uint32_t{IFA_F_NODAD});
    ifa_cacheinfo lifetime{};
    lifetime.ifa_valid = for_ever;
    lifetime.ifa_prefered = options.source ? for_ever : 0;  // deprecated: serves, but is no source of ours
    request.attribute(IFA_CACHEINFO, lifetime);
  }
  const int error = socket.request(std::move(request));
  if (error == EEXIST) {  // added by somebody in between
    UNDERSTUDY_ASSIGN_OR_RETURN(link, find_adapter(adapter_name));
    if (const adapter_address* present = find_address(link, network.address))
      return presence_of(link, *present);
  }
  if (error != 0)
    return errno_status(error, "add", fmt::format("{} to {}", to_string(network), adapter_name));
  return address_presence::added;
}

absl::Status ensure_removed(const std::string& adapter_name, const ip_network& network,
                            bool recorded_as_ours) {
  auto link = find_adapter(adapter_name);
  if (absl::IsNotFound(link.status())) return absl::OkStatus();  // gone with its adapter
  if (!link.ok()) return link.status();
  const adapter_address* present = find_address(*link, network.address);
  if (present == nullptr || (!present->ours && !recorded_as_ours)) return absl::OkStatus();
  UNDERSTUDY_ASSIGN_OR_RETURN(auto socket, netlink_socket::open());
  std::vector<raw_address> before;
  if (!network.address.is_v6()) {
    UNDERSTUDY_ASSIGN_OR_RETURN(before, raw_ipv4_addresses(socket, *link));
  }
  netlink_request request(RTM_DELADDR, 0, head_of(*link, present->network));
  put_address(request, present->network);
  const int error = socket.request(std::move(request));
  if (error != 0 && error != EADDRNOTAVAIL)
    return errno_status(error, "remove", fmt::format("{} from {}", to_string(network), adapter_name));
  if (network.address.is_v6()) return absl::OkStatus();
  return put_back_lost(socket, *link, network, before);
}

absl::StatusOr<std::vector<held_address>> held_addresses() {
  UNDERSTUDY_ASSIGN_OR_RETURN(const auto adapters, list_adapters());
  std::vector<held_address> held;
  for (const adapter& link : adapters)
    for (const adapter_address& one : link.addresses)
      if (one.ours) held.push_back({link.name, one.network});
  return held;
}

}  // namespace understudy::network
