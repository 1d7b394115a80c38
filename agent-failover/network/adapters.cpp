#include "agent-failover/network/adapters.hpp"

#include <fmt/format.h>
#include <linux/ethtool.h>
#include <linux/if.h>
#include <linux/if_addr.h>
#include <linux/if_arp.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <algorithm>
#include <tuple>

#include "agent-failover/network/address_mark.hpp"
#include "agent-failover/network/netlink.hpp"
#include "common/os/unique_fd.hpp"
#include "common/status/status_macros.hpp"

namespace understudy::network {
namespace {

using bytes = std::span<const std::uint8_t>;

std::string text_of(bytes data) {
  return {reinterpret_cast<const char*>(data.data()),
          ::strnlen(reinterpret_cast<const char*>(data.data()), data.size())};
}

std::uint32_t number_of(bytes data) {
  std::uint32_t value = 0;
  std::memcpy(&value, data.data(), std::min(data.size(), sizeof value));
  return value;
}

// Driver and bus as ethtool -i shows them. Unlike sysfs it follows the caller's network namespace.
std::string hardware_description(const std::string& name) {
  const os::unique_fd fd(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  ethtool_drvinfo info{};
  info.cmd = ETHTOOL_GDRVINFO;
  ifreq request{};
  name.copy(request.ifr_name, IFNAMSIZ - 1);
  request.ifr_data = reinterpret_cast<char*>(&info);
  if (!fd || ::ioctl(fd.value(), SIOCETHTOOL, &request) != 0) return {};
  const std::string driver(info.driver, ::strnlen(info.driver, sizeof info.driver));
  const std::string bus(info.bus_info, ::strnlen(info.bus_info, sizeof info.bus_info));
  return bus.empty() || bus == "N/A" ? driver : fmt::format("{} at {}", driver, bus);
}

adapter read_link(bytes payload, const ifinfomsg& head) {
  adapter found;
  found.index = head.ifi_index;
  found.loopback = (head.ifi_flags & IFF_LOOPBACK) != 0;
  found.ethernet = head.ifi_type == ARPHRD_ETHER;
  found.up = (head.ifi_flags & IFF_UP) != 0;
  found.carrier = (head.ifi_flags & IFF_RUNNING) != 0;
  for_each_attribute(payload, sizeof head, [&](std::uint16_t type, bytes data) {
    if (type == IFLA_IFNAME) found.name = text_of(data);
    if (type == IFLA_MTU) found.mtu = number_of(data);
    if (type == IFLA_ADDRESS && data.size() == 6)
      std::copy(data.begin(), data.end(), found.mac.bytes.begin());
    if (type == IFLA_LINKINFO)
      for_each_attribute(data, [&](std::uint16_t inner, bytes value) {
        if (inner == IFLA_INFO_KIND) found.description = text_of(value);
      });
  });
  if (found.loopback) found.description = "loopback";
  if (found.description.empty()) found.description = hardware_description(found.name);
  return found;
}

adapter_address read_address(bytes payload, const ifaddrmsg& head) {
  adapter_address found;
  found.network.prefix_length = head.ifa_prefixlen;
  const std::size_t size = head.ifa_family == AF_INET6 ? 16 : 4;
  std::uint32_t flags = head.ifa_flags;
  bool local_seen = false;
  for_each_attribute(payload, sizeof head, [&](std::uint16_t type, bytes data) {
    // On a point-to-point link IFA_ADDRESS is the peer and IFA_LOCAL ours; elsewhere they are equal.
    if ((type == IFA_LOCAL || (type == IFA_ADDRESS && !local_seen)) && data.size() == size) {
      found.network.address = ip_address_from(head.ifa_family, data.data());
      local_seen |= type == IFA_LOCAL;
    }
    if (type == IFA_FLAGS) flags = number_of(data);
    if (type == IFA_PROTO) found.ours = data.size() == 1 && data[0] == address_mark;
  });
  found.tentative = (flags & IFA_F_TENTATIVE) != 0 && (flags & IFA_F_OPTIMISTIC) == 0;
  found.duplicate = (flags & IFA_F_DADFAILED) != 0;
  found.secondary = head.ifa_family == AF_INET && (flags & IFA_F_SECONDARY) != 0;
  found.permanent = (flags & IFA_F_PERMANENT) != 0;
  return found;
}

struct route {
  ip_network destination;
  std::optional<ip_address> via;
  std::uint32_t index = 0;
  std::uint32_t metric = 0;
};

absl::StatusOr<std::vector<route>> list_routes(int family) {
  UNDERSTUDY_ASSIGN_OR_RETURN(auto socket, netlink_socket::open());
  std::vector<route> routes;
  rtmsg ask{};
  ask.rtm_family = static_cast<unsigned char>(family);
  const auto visit = [&](std::uint16_t type, bytes payload) {
    rtmsg head;
    if (type != RTM_NEWROUTE || !read_fixed(payload, head) || head.rtm_type != RTN_UNICAST) return;
    if ((head.rtm_flags & RTM_F_CLONED) != 0 || head.rtm_family != family) return;
    route found;
    found.destination.address.family = family;
    found.destination.prefix_length = head.rtm_dst_len;
    const std::size_t size = found.destination.address.size();
    std::uint32_t table = head.rtm_table;
    std::vector<route> hops;  // of a multipath route
    for_each_attribute(payload, sizeof head, [&](std::uint16_t attribute, bytes data) {
      if (attribute == RTA_TABLE) table = number_of(data);
      if (attribute == RTA_OIF) found.index = number_of(data);
      if (attribute == RTA_PRIORITY) found.metric = number_of(data);
      if (attribute == RTA_DST && data.size() == size)
        found.destination.address = ip_address_from(family, data.data());
      if (attribute == RTA_GATEWAY && data.size() == size) found.via = ip_address_from(family, data.data());
      if (attribute == RTA_VIA && data.size() == 2 + 16)
        found.via = ip_address_from(AF_INET6, data.data() + 2);
      if (attribute != RTA_MULTIPATH) return;
      while (data.size() >= sizeof(rtnexthop)) {
        rtnexthop hop;
        std::memcpy(&hop, data.data(), sizeof hop);
        if (hop.rtnh_len < sizeof hop || hop.rtnh_len > data.size()) break;
        route& leg = hops.emplace_back();
        leg.index = static_cast<std::uint32_t>(hop.rtnh_ifindex);
        for_each_attribute(data.subspan(sizeof hop, hop.rtnh_len - sizeof hop),
                           [&](std::uint16_t inner, bytes value) {
                             if (inner == RTA_GATEWAY && value.size() == size)
                               leg.via = ip_address_from(family, value.data());
                           });
        data = data.subspan(std::min<std::size_t>(RTNH_ALIGN(hop.rtnh_len), data.size()));
      }
    });
    if (table != RT_TABLE_MAIN) return;
    if (hops.empty()) hops.push_back(found);
    for (route& leg : hops) {
      leg.destination = found.destination;
      leg.metric = found.metric;
      routes.push_back(leg);
    }
  };
  UNDERSTUDY_RETURN_IF_ERROR(
      socket.dump(netlink_request(RTM_GETROUTE, NLM_F_DUMP, ask), "read the routes", visit));
  return routes;
}

}  // namespace

absl::StatusOr<std::vector<adapter>> list_adapters() {
  UNDERSTUDY_ASSIGN_OR_RETURN(auto socket, netlink_socket::open());
  std::vector<adapter> adapters;
  UNDERSTUDY_RETURN_IF_ERROR(socket.dump(netlink_request(RTM_GETLINK, NLM_F_DUMP, ifinfomsg{}),
                                         "read the network adapters", [&](std::uint16_t type, bytes payload) {
                                           ifinfomsg head;
                                           if (type == RTM_NEWLINK && read_fixed(payload, head))
                                             adapters.push_back(read_link(payload, head));
                                         }));
  UNDERSTUDY_RETURN_IF_ERROR(socket.dump(
      netlink_request(RTM_GETADDR, NLM_F_DUMP, ifaddrmsg{}), "read the addresses",
      [&](std::uint16_t type, bytes payload) {
        ifaddrmsg head;
        if (type != RTM_NEWADDR || !read_fixed(payload, head)) return;
        if (head.ifa_family != AF_INET && head.ifa_family != AF_INET6) return;
        const auto owner = std::find_if(adapters.begin(), adapters.end(), [&](const adapter& candidate) {
          return candidate.index == static_cast<int>(head.ifa_index);
        });
        if (owner == adapters.end()) return;
        adapter_address found = read_address(payload, head);
        if (found.network.address.is_link_local()) found.network.address.scope = head.ifa_index;
        owner->addresses.push_back(found);
      }));
  return adapters;
}

absl::StatusOr<adapter> find_adapter(const std::string& name) {
  UNDERSTUDY_ASSIGN_OR_RETURN(auto adapters, list_adapters());
  std::string names;
  for (adapter& candidate : adapters) {
    if (candidate.name == name) return std::move(candidate);
    names += (names.empty() ? "" : ", ") + candidate.name;
  }
  return absl::NotFoundError(fmt::format("there is no network adapter '{}'; there are: {}", name, names));
}

absl::StatusOr<bool> on_link(const std::string& adapter_name, const ip_address& address) {
  UNDERSTUDY_ASSIGN_OR_RETURN(const adapter found, find_adapter(adapter_name));
  UNDERSTUDY_ASSIGN_OR_RETURN(const auto routes, list_routes(address.family));
  return std::any_of(routes.begin(), routes.end(), [&](const route& candidate) {
    return candidate.index == static_cast<std::uint32_t>(found.index) && !candidate.via &&
           candidate.destination.prefix_length > 0 && candidate.destination.contains(address);
  });
}

absl::StatusOr<std::string> adapter_towards(const ip_address& address) {
  UNDERSTUDY_ASSIGN_OR_RETURN(auto socket, netlink_socket::open());
  rtmsg ask{};
  ask.rtm_family = static_cast<unsigned char>(address.family);
  ask.rtm_dst_len = static_cast<unsigned char>(address.size() * 8);
  netlink_request request(RTM_GETROUTE, 0, ask);
  request.attribute(RTA_DST, address.bytes.data(), address.size());
  if (address.scope != 0) request.attribute(RTA_OIF, address.scope);
  std::uint32_t index = 0;
  const absl::Status answered =
      socket.dump(std::move(request), "look up the route", [&](std::uint16_t, bytes payload) {
        for_each_attribute(payload, sizeof(rtmsg), [&](std::uint16_t attribute, bytes data) {
          if (attribute == RTA_OIF) index = number_of(data);
        });
      });
  UNDERSTUDY_ASSIGN_OR_RETURN(const auto adapters, list_adapters());
  for (const adapter& link : adapters)
    if (answered.ok() && link.index == static_cast<int>(index)) return link.name;
  return absl::UnavailableError(fmt::format("this host has no route to {}", to_string(address)));
}

absl::StatusOr<std::vector<gateway>> default_gateways() {
  UNDERSTUDY_ASSIGN_OR_RETURN(const auto adapters, list_adapters());
  std::vector<gateway> gateways;
  for (const int family : {AF_INET, AF_INET6}) {
    UNDERSTUDY_ASSIGN_OR_RETURN(const auto routes, list_routes(family));
    for (const route& candidate : routes) {
      if (candidate.destination.prefix_length != 0 || !candidate.via) continue;
      gateway found{*candidate.via, "", candidate.metric};
      if (found.address.is_link_local()) found.address.scope = candidate.index;
      for (const adapter& link : adapters)
        if (link.index == static_cast<int>(candidate.index)) found.adapter = link.name;
      gateways.push_back(std::move(found));
    }
  }
  std::stable_sort(gateways.begin(), gateways.end(), [](const gateway& a, const gateway& b) {
    return std::tuple(a.address.is_v6(), a.metric) < std::tuple(b.address.is_v6(), b.metric);
  });
  return gateways;
}

absl::StatusOr<std::optional<mac_address>> neighbour_mac(const std::string& adapter_name,
                                                         const ip_address& address) {
  UNDERSTUDY_ASSIGN_OR_RETURN(const adapter found, find_adapter(adapter_name));
  UNDERSTUDY_ASSIGN_OR_RETURN(auto socket, netlink_socket::open());
  std::optional<mac_address> mac;
  ndmsg ask{};
  ask.ndm_family = static_cast<unsigned char>(address.family);
  UNDERSTUDY_RETURN_IF_ERROR(socket.dump(
      netlink_request(RTM_GETNEIGH, NLM_F_DUMP, ask), "read the neighbours",
      [&](std::uint16_t type, bytes payload) {
        ndmsg head;
        if (type != RTM_NEWNEIGH || !read_fixed(payload, head)) return;
        if (head.ndm_ifindex != found.index || (head.ndm_state & (NUD_FAILED | NUD_INCOMPLETE)) != 0) return;
        bool matches = false;
        std::optional<mac_address> seen;
        for_each_attribute(payload, sizeof head, [&](std::uint16_t attribute, bytes data) {
          if (attribute == NDA_DST && data.size() == address.size())
            matches = std::equal(data.begin(), data.end(), address.bytes.begin());
          if (attribute == NDA_LLADDR && data.size() == 6)
            std::copy(data.begin(), data.end(), seen.emplace().bytes.begin());
        });
        if (matches) mac = seen;
      }));
  return mac;
}

}  // namespace understudy::network
