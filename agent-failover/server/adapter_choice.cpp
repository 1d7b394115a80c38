#include "agent-failover/server/adapter_choice.hpp"

#include "agent-failover/network/adapters.hpp"

namespace understudy::server {

std::string adapter_for(const std::string& address, const v1::Settings& settings) {
  auto parsed = network::parse_ip_address(address);
  if (!parsed.ok()) return "";
  if (!settings.adapter().empty()) {
    auto reachable = network::on_link(settings.adapter(), *parsed);
    return reachable.ok() && *reachable ? settings.adapter() : "";
  }
  auto adapters = network::list_adapters();
  if (!adapters.ok()) return "";
  for (const auto& adapter : *adapters) {
    if (adapter.loopback || !adapter.ethernet) continue;
    auto reachable = network::on_link(adapter.name, *parsed);
    if (reachable.ok() && *reachable) return adapter.name;
  }
  return "";
}

}  // namespace understudy::server
