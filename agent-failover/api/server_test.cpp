#include "agent-failover/api/server_test.hpp"

#include <fmt/core.h>
#include <google/protobuf/util/time_util.h>

#include <condition_variable>
#include <mutex>
#include <optional>

#include "agent-failover/link/agent_connection.hpp"
#include "agent-failover/network/prober.hpp"
#include "agent-failover/server/adapter_choice.hpp"
#include "agent-failover/server/service_addresses.hpp"
#include "agent-failover/server/spec_check.hpp"
#include "common/status/status_text.hpp"

namespace understudy::api {
namespace {

using google::protobuf::util::TimeUtil;

constexpr std::chrono::milliseconds agent_answer{3000};

v1::CheckResult result(std::string name, bool ok, std::string detail) {
  v1::CheckResult check;
  check.set_name(std::move(name));
  check.set_ok(ok);
  check.set_detail(std::move(detail));
  return check;
}

v1::CheckResult test_ping(const v1::ServerSpec& spec, const v1::Settings& settings) {
  auto address = network::parse_ip_address(spec.address());
  if (!address.ok()) return result("ping", false, std::string(message_of(address.status())));
  const v1::PingSettings ping = server::effective_ping(spec, settings);
  const auto timeout = std::chrono::milliseconds(TimeUtil::DurationToMilliseconds(ping.timeout()));
  std::mutex mutex;
  std::condition_variable arrived;
  std::optional<network::probe_sample> sample;
  auto prober = network::prober::open({}, [&](const network::probe_sample& s) {
    std::lock_guard lock(mutex);
    if (!sample) sample = s;
    arrived.notify_all();
  });
  if (!prober.ok()) return result("ping", false, std::string(message_of(prober.status())));
  if (absl::Status added = (*prober)->add("test", *address, {.interval = timeout, .timeout = timeout});
      !added.ok()) {
    return result("ping", false, std::string(message_of(added)));
  }
  std::unique_lock lock(mutex);
  const bool answered = arrived.wait_for(lock, 2 * timeout + std::chrono::milliseconds{500},
                                         [&] { return sample.has_value(); });
  const std::optional<network::probe_sample> seen = sample;
  lock.unlock();
  prober->reset();
  if (answered && seen->outcome == network::probe_outcome::reply) {
    return result("ping", true,
                  fmt::format("answered in {:.1f} ms", static_cast<double>(seen->rtt.count()) / 1e6));
  }
  return result(
      "ping", false,
      fmt::format(
          "{} did not answer within {} ms: is it up, is the address right, does a firewall drop ICMP echo?",
          spec.address(), timeout.count()));
}

}  // namespace

std::vector<v1::CheckResult> test_server(const v1::ServerSpec& spec, const v1::Settings& settings) {
  std::vector<v1::CheckResult> checks;
  checks.push_back(test_ping(spec, settings));
  const std::string target = link::agent_target(spec.address(), spec.port());
  auto agent = link::describe_agent(target, agent_answer);
  if (agent.ok()) {
    checks.push_back(result("agent", true, fmt::format("version {} at {}", agent->version(), target)));
  } else {
    checks.push_back(
        result("agent", false,
               fmt::format("{} does not answer ({}): is understudy-agent running there, and the port open?",
                           target, message_of(agent.status()))));
  }
  for (const auto& database : spec.databases()) {
    const std::string name = "database " + database.catalog();
    v1::TestDatabaseRequest question;
    question.set_catalog(database.catalog());
    question.set_path(database.path());
    auto answer = link::test_database(target, question, agent_answer);
    checks.push_back(answer.ok() ? result(name, answer->ok(), answer->detail())
                                 : result(name, false, std::string(message_of(answer.status()))));
  }
  for (const auto& address : server::adopted_addresses(spec)) {
    const std::string adapter = server::adapter_for(address, settings);
    checks.push_back(
        result("address " + address, !adapter.empty(),
               adapter.empty() ? "no adapter of this host has an on-link route to it: put this host into the "
                                 "same subnet, or choose the adapter in the settings"
                               : "would be adopted on " + adapter));
  }
  return checks;
}

}  // namespace understudy::api
