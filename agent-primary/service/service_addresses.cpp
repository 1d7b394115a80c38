#include "agent-primary/service/service_addresses.hpp"

#include <fmt/core.h>

#include "agent-failover/network/adapters.hpp"
#include "agent-failover/network/address_claim.hpp"
#include "agent-failover/network/address_holder.hpp"
#include "common/log/log.hpp"
#include "common/status/status_macros.hpp"
#include "common/status/status_text.hpp"

namespace understudy::service {
namespace {

struct placement {
  std::string adapter;
  int prefix_length = 0;
};

absl::StatusOr<placement> put(const lease::service_address& wanted,
                              const std::vector<network::adapter>& adapters) {
  UNDERSTUDY_ASSIGN_OR_RETURN(const network::ip_address address, network::parse_ip_address(wanted.address));
  std::string adapter = wanted.adapter;
  int prefix = wanted.prefix_length;
  for (const network::adapter& a : adapters) {
    if (a.loopback || (!adapter.empty() && a.name != adapter)) continue;
    for (const network::adapter_address& connected : a.addresses) {
      if (!connected.network.contains(address)) continue;
      if (adapter.empty()) adapter = a.name;
      if (prefix == 0) prefix = connected.network.prefix_length;
    }
  }
  if (adapter.empty()) {
    return absl::FailedPreconditionError(
        fmt::format("no adapter of this machine lies in the network of service address {}; name one, or "
                    "check its networks with: "
                    "ip address",
                    wanted.address));
  }
  if (prefix == 0) prefix = address.is_v6() ? 128 : 32;
  UNDERSTUDY_ASSIGN_OR_RETURN(const network::address_presence presence,
                              network::ensure_added(adapter, {address, prefix}));
  log::info("", "service address {}/{} on {}: {}", wanted.address, prefix, adapter,
            network::to_string(presence));
  return placement{adapter, prefix};
}

template <class Visit>
absl::Status on_present(const lease::service_address& wanted, const std::vector<network::adapter>& adapters,
                        Visit visit) {
  UNDERSTUDY_ASSIGN_OR_RETURN(const network::ip_address address, network::parse_ip_address(wanted.address));
  for (const network::adapter& a : adapters) {
    for (const network::adapter_address& present : a.addresses) {
      if (network::same_host(present.network.address, address)) {
        UNDERSTUDY_RETURN_IF_ERROR(visit(a.name, present.network));
      }
    }
  }
  return absl::OkStatus();
}

}  // namespace

service_addresses::service_addresses() = default;
service_addresses::~service_addresses() = default;

absl::Status service_addresses::add(const std::vector<lease::service_address>& addresses) {
  UNDERSTUDY_ASSIGN_OR_RETURN(const std::vector<network::adapter> adapters, network::list_adapters());
  absl::Status result;
  for (const lease::service_address& address : addresses) {
    const absl::StatusOr<placement> placed = put(address, adapters);
    result.Update(placed.status());
    if (placed.ok()) announce(address.address, placed->adapter, placed->prefix_length);
  }
  return result;
}

void service_addresses::announce(const std::string& address, const std::string& adapter, int prefix_length) {
  const absl::StatusOr<network::ip_address> parsed = network::parse_ip_address(address);
  if (!parsed.ok()) return;
  const std::lock_guard lock(mutex_);
  std::unique_ptr<network::address_claim>& claim = announcing_[address];
  absl::Status status;
  if (!claim) {
    auto opened = network::address_claim::open(
        adapter, {*parsed, prefix_length},
        {.on_probed = {},
         .on_conflict =
             [address](const network::address_conflict& conflict) {
               log::warning("", "service address {} is also used by {}", address,
                            network::to_string(conflict.mac));
             },
         .on_trouble =
             [address](const absl::Status& trouble) {
               log::warning("", "service address {}: {}", address, message_of(trouble));
             }});
    if (opened.ok()) {
      claim = *std::move(opened);
      status = claim->add().status();
    } else {
      status = opened.status();
    }
  }
  if (!status.ok() || !claim) {
    log::warning("", "service address {} is not announced: {}", address, message_of(status));
    announcing_.erase(address);
    return;
  }
  claim->announce();
}

absl::Status service_addresses::remove(const std::vector<lease::service_address>& addresses) {
  {
    const std::lock_guard lock(mutex_);
    for (const lease::service_address& address : addresses) announcing_.erase(address.address);
  }
  UNDERSTUDY_ASSIGN_OR_RETURN(const std::vector<network::adapter> adapters, network::list_adapters());
  absl::Status result;
  for (const lease::service_address& address : addresses) {
    result.Update(
        on_present(address, adapters, [&](const std::string& adapter, const network::ip_network& network) {
          log::info("", "service address {} leaves {}", address.address, adapter);
          return network::ensure_removed(adapter, network, true);
        }));
  }
  return result;
}

std::vector<std::string> present_service_addresses(const std::vector<lease::service_address>& addresses) {
  std::vector<std::string> result;
  const absl::StatusOr<std::vector<network::adapter>> adapters = network::list_adapters();
  if (!adapters.ok()) return result;
  for (const lease::service_address& address : addresses) {
    bool present = false;
    const absl::Status parsed =
        on_present(address, *adapters, [&](const std::string&, const network::ip_network&) {
          present = true;
          return absl::OkStatus();
        });
    if (parsed.ok() && present) result.push_back(address.address);
  }
  return result;
}

}  // namespace understudy::service
