// Adapters, addresses and claims on a real network.

#include <gmock/gmock.h>

#include <atomic>
#include <future>
#include <mutex>

#include "agent-failover/network/adapters.hpp"
#include "agent-failover/network/address_claim.hpp"
#include "agent-failover/network/address_holder.hpp"
#include "agent-failover/network/self_health.hpp"
#include "common/status/status_text.hpp"
#include "tests/support/lab/lab.hpp"
#include "tests/support/wait.hpp"

namespace understudy::network {
namespace {

using namespace std::chrono_literals;
using test::host;
using test::lab;
using test::wait_until;
using ::testing::HasSubstr;
using ::testing::Not;
using clock = std::chrono::steady_clock;

test::lab_options three() {
  return {.hosts = {{.name = "failover", .addresses = {"10.77.0.9/24", "fd77::9/64"}},
                    {.name = "primary", .addresses = {"10.77.0.1/24", "fd77::1/64"}},
                    {.name = "client", .addresses = {"10.77.0.50/24", "fd77::50/64"}}},
          .gateway = {"10.77.0.254/24", "fd77::fe/64"}};
}

ip_network net_of(const std::string& text) {
  return parse_ip_network(text).value();
}

template <class Result>
Result on(host& where, const std::function<absl::StatusOr<Result>()>& question) {
  std::optional<Result> answer;
  where.call([&] {
    auto result = question();
    if (!result.ok()) throw std::runtime_error(std::string(message_of(result.status())));
    answer = std::move(*result);
  });
  return std::move(*answer);
}

double ms_since(clock::time_point start) {
  return std::chrono::duration<double, std::milli>(clock::now() - start).count();
}

// --- adapters ---

TEST(adapters, list_tells_what_there_is) {
  lab net(three());
  const auto eth0 = on<adapter>(net["failover"], [] { return find_adapter("eth0"); });
  EXPECT_EQ(to_string(eth0.mac), net["failover"].mac());
  EXPECT_TRUE(eth0.up && eth0.carrier && eth0.ethernet && !eth0.loopback);
  EXPECT_EQ(eth0.description, "veth");
  EXPECT_EQ(eth0.mtu, 1500U);
  std::vector<std::string> addresses;
  for (const auto& one : eth0.addresses) addresses.push_back(to_string(one.network));
  EXPECT_THAT(addresses, testing::IsSupersetOf({"10.77.0.9/24", "fd77::9/64"}));
  net["failover"].call([] {
    EXPECT_THAT(std::string(message_of(find_adapter("eth7").status())), HasSubstr("there are: lo, eth0"));
  });
  const auto gateways = on<std::vector<gateway>>(net["failover"], [] { return default_gateways(); });
  ASSERT_EQ(gateways.size(), 2U);
  EXPECT_EQ(to_string(gateways[0].address), "10.77.0.254");
  EXPECT_EQ(gateways[0].adapter, "eth0");
  EXPECT_EQ(to_string(gateways[1].address), "fd77::fe");
}

TEST(adapters, on_link_means_a_connected_route) {
  lab net(three());
  host& failover = net["failover"];
  failover.sh("ip route add 192.0.2.0/24 via 10.77.0.254");
  const auto linked = [&](const std::string& adapter_name, const std::string& address) {
    return on<bool>(failover, [&] { return on_link(adapter_name, parse_ip_address(address).value()); });
  };
  EXPECT_TRUE(linked("eth0", "10.77.0.1"));
  EXPECT_TRUE(linked("eth0", "fd77::1"));
  EXPECT_FALSE(linked("lo", "10.77.0.1"));
  EXPECT_FALSE(linked("eth0", "192.0.2.1")) << "through a gateway";
  EXPECT_FALSE(linked("eth0", "8.8.8.8")) << "by the default route";
  EXPECT_FALSE(linked("eth0", "fd99::1"));

  const auto towards = [&](const std::string& address) {
    return on<std::string>(failover, [&] { return adapter_towards(parse_ip_address(address).value()); });
  };
  for (const char* address : {"10.77.0.1", "fd77::1", "8.8.8.8"})
    EXPECT_EQ(towards(address), "eth0") << address;
  EXPECT_EQ(towards("127.0.0.1"), "lo");
  failover.sh("ip route del default");
  failover.call([] {
    EXPECT_TRUE(absl::IsUnavailable(adapter_towards(parse_ip_address("8.8.8.8").value()).status()));
  });
}

TEST(adapters, neighbour_mac_and_changes) {
  lab net(three());
  host& failover = net["failover"];
  const auto ask = [&](const std::string& address) {
    return on<std::optional<mac_address>>(
        failover, [&] { return neighbour_mac("eth0", parse_ip_address(address).value()); });
  };
  EXPECT_FALSE(ask("10.77.0.1"));
  failover.sh("ping -n -c1 10.77.0.1; ping -n -c1 fd77::1; ping -n -c1 -W1 10.77.0.99");
  for (const char* address : {"10.77.0.1", "fd77::1"}) {
    ASSERT_TRUE(ask(address)) << address;
    EXPECT_EQ(to_string(*ask(address)), net["primary"].mac());
  }
  EXPECT_FALSE(ask("10.77.0.99"));

  std::atomic<int> changes{0};
  std::unique_ptr<adapter_watcher> watcher;
  failover.call([&] { watcher = adapter_watcher::open([&] { ++changes; }).value(); });
  EXPECT_EQ(changes, 0);
  failover.cut();
  ASSERT_TRUE(wait_until([&] { return changes > 0; }, 10s));
  failover.call([] {
    EXPECT_EQ(look_at_adapter("eth0"), adapter_state::no_carrier);
    EXPECT_EQ(look_at_adapter("lo"), adapter_state::up);
    EXPECT_EQ(look_at_adapter("eth7"), adapter_state::down);
  });
}

// --- address_holder ---

class both_families : public testing::TestWithParam<bool> {
 protected:
  std::string service() const { return GetParam() ? "fd77::100" : "10.77.0.100"; }
  std::string primary() const { return GetParam() ? "fd77::1" : "10.77.0.1"; }
  std::string one() const { return GetParam() ? "/128" : "/32"; }
};
INSTANTIATE_TEST_SUITE_P(, both_families, testing::Bool(),
                         [](const auto& kind) { return kind.param ? "ipv6" : "ipv4"; });

TEST_P(both_families, adding_is_idempotent_and_the_undo_exact) {
  lab net(three());
  host& failover = net["failover"];
  const std::string before = failover.sh("ip -o addr").output;
  const auto add = [&](const std::string& text) {
    return on<address_presence>(failover, [&] { return ensure_added("eth0", net_of(text)); });
  };
  EXPECT_EQ(add(service() + one()), address_presence::added);
  EXPECT_EQ(add(service() + one()), address_presence::already_ours);
  EXPECT_THAT(failover.sh("ip addr").output, HasSubstr(service() + one()));
  EXPECT_EQ(failover.sh("ip -6 addr show tentative dadfailed").output, "");
  const auto held = on<std::vector<held_address>>(failover, [] { return held_addresses(); });
  ASSERT_EQ(held.size(), 1U) << "a crashed daemon finds what it had added";
  EXPECT_EQ(to_string(held[0].network), service() + one());
  failover.call([&] {
    EXPECT_TRUE(ensure_removed("eth0", net_of(service() + one())).ok());
    EXPECT_TRUE(ensure_removed("eth0", net_of(service() + one())).ok());
  });
  EXPECT_EQ(failover.sh("ip -o addr").output, before);
}

TEST_P(both_families, what_the_administrator_added_stays) {
  lab net(three());
  host& failover = net["failover"];
  failover.sh("ip addr add " + service() + one() + " dev eth0 nodad");
  const std::string before = failover.sh("ip -o addr").output;
  EXPECT_EQ(on<address_presence>(failover, [&] { return ensure_added("eth0", net_of(service() + one())); }),
            address_presence::already_there);
  failover.call([&] { EXPECT_TRUE(ensure_removed("eth0", net_of(service() + one())).ok()); });
  EXPECT_EQ(failover.sh("ip -o addr").output, before);
  failover.call([&] { EXPECT_TRUE(ensure_removed("eth0", net_of(service() + one()), true).ok()); });
  EXPECT_THAT(failover.sh("ip -o addr").output, Not(HasSubstr(service() + "/")));
}

// The kernel deletes the later addresses of a subnet together with its first.
TEST(address_holder, a_later_address_of_the_same_subnet_survives_the_removal_of_ours) {
  lab net(three());
  host& failover = net["failover"];
  failover.sh("sysctl -qw net.ipv4.conf.all.promote_secondaries=0 net.ipv4.conf.eth0.promote_secondaries=0");
  on<address_presence>(failover, [] { return ensure_added("eth0", net_of("10.88.0.1/24")); });
  failover.sh("ip addr add 10.88.0.2/24 dev eth0");
  failover.call([] { EXPECT_TRUE(ensure_removed("eth0", net_of("10.88.0.1/24")).ok()); });
  const std::string after = failover.sh("ip -o addr").output;
  EXPECT_THAT(after, HasSubstr("10.88.0.2/24"));
  EXPECT_THAT(after, Not(HasSubstr("10.88.0.1/24")));
  EXPECT_FALSE(ensure_added("no-such-adapter", net_of("10.88.0.1/24")).ok());
}

// --- address_claim ---

struct claim_log {
  std::mutex mutex;
  std::vector<probe_report> probes;
  std::vector<address_conflict> conflicts;
  std::vector<std::string> troubles;

  claim_events events() {
    return {.on_probed = [this](const probe_report& one) { put(probes, one); },
            .on_conflict = [this](const address_conflict& one) { put(conflicts, one); },
            .on_trouble = [this](const absl::Status& one) { put(troubles, std::string(message_of(one))); }};
  }
  template <class List, class One>
  void put(List& list, const One& one) {
    const std::lock_guard lock(mutex);
    list.push_back(one);
  }
  template <class List>
  bool wait_for(const List& list, std::size_t count, std::chrono::milliseconds within = 10s) {
    return wait_until(
        [&] {
          const std::lock_guard lock(mutex);
          return list.size() >= count;
        },
        within, 1ms);
  }
};

std::unique_ptr<address_claim> claim_on(host& where, const std::string& network, claim_log& log) {
  std::unique_ptr<address_claim> claim;
  where.call([&] {
    auto opened = address_claim::open("eth0", net_of(network), log.events());
    if (!opened.ok()) throw std::runtime_error(std::string(message_of(opened.status())));
    claim = std::move(*opened);
  });
  return claim;
}

constexpr acd_timings no_wait{0ms, 3, 50ms, 80ms, 100ms};

TEST_P(both_families, a_probe_finds_the_live_holder_and_its_mac) {
  lab net(three());
  claim_log log;
  const auto claim = claim_on(net["failover"], primary() + one(), log);
  const auto start = clock::now();
  claim->probe({0ms, 3, 1000ms, 1000ms, 1000ms});
  ASSERT_TRUE(log.wait_for(log.probes, 1));
  std::printf("%s: probe of a held address answered within %.2f ms\n", primary().c_str(), ms_since(start));
  EXPECT_EQ(log.probes[0].verdict, probe_verdict::in_use);
  EXPECT_EQ(to_string(log.probes[0].mac), net["primary"].mac());
  EXPECT_LT(clock::now() - start, 1s);
}

TEST_P(both_families, a_probe_of_a_free_address_ends_in_free) {
  lab net(three());
  claim_log log;
  const auto claim = claim_on(net["failover"], service() + one(), log);
  claim->probe(no_wait);
  ASSERT_TRUE(log.wait_for(log.probes, 1));
  EXPECT_EQ(log.probes[0].verdict, probe_verdict::free);
  // The dead primary's address is free as soon as it is off.
  claim_log other;
  net["primary"].power_off();
  const auto second = claim_on(net["failover"], primary() + one(), other);
  second->probe(no_wait);
  ASSERT_TRUE(other.wait_for(other.probes, 1));
  EXPECT_EQ(other.probes[0].verdict, probe_verdict::free);
  // No link: no verdict about others.
  net["failover"].sh("ip link set eth0 down");
  second->probe(no_wait);
  ASSERT_TRUE(other.wait_for(other.probes, 2));
  EXPECT_EQ(other.probes[1].verdict, probe_verdict::failed);
}

// Two failover hosts that probe at the same time both learn of each other.
TEST_P(both_families, simultaneous_probes_see_each_other) {
  lab net(three());
  claim_log first_log;
  claim_log second_log;
  const auto first = claim_on(net["failover"], service() + one(), first_log);
  const auto second = claim_on(net["client"], service() + one(), second_log);
  first->probe({0ms, 3, 1000ms, 1000ms, 1000ms});
  EXPECT_FALSE(first_log.wait_for(first_log.probes, 1, 100ms));
  second->probe(no_wait);
  ASSERT_TRUE(first_log.wait_for(first_log.probes, 1));
  EXPECT_EQ(first_log.probes[0].verdict, probe_verdict::in_use);
  EXPECT_EQ(to_string(first_log.probes[0].mac), net["client"].mac());
}

// The moment a takeover is for: the client has the dead primary's MAC in its cache.
TEST_P(both_families, a_client_with_a_stale_entry_is_answered_right_after_the_announcement) {
  lab net(three());
  host& client = net["client"];
  ASSERT_EQ(client.run({"ping", "-n", "-c", "2", "-i", "0.1", primary()}).exit, 0);
  net["primary"].power_off();
  claim_log log;
  const auto claim = claim_on(net["failover"], primary() + one(), log);
  test::process ping = client.spawn({"ping", "-n", "-D", "-i", "0.005", primary()});
  EXPECT_FALSE(ping.wait_for_log("bytes from", 300ms)) << ping.log();
  const auto start = clock::now();
  ASSERT_EQ(claim->add().value(), address_presence::added);
  claim->announce();
  ASSERT_TRUE(ping.wait_for_log("bytes from", 5s));
  const double took = ms_since(start);
  std::printf("%s: address added -> client answered: %.1f ms\n", primary().c_str(), took);
  RecordProperty("answered_ms", std::to_string(took));
  EXPECT_LT(took, 1000);
  const std::string neighbours = client.sh("ip neigh show " + primary()).output;
  EXPECT_THAT(neighbours, HasSubstr(net["failover"].mac()));
  EXPECT_TRUE(claim->release().ok());
  EXPECT_THAT(net["failover"].sh("ip -o addr").output, Not(HasSubstr(primary() + "/")));
}

TEST_P(both_families, a_returning_primary_is_seen_at_once) {
  lab net(three());
  net["primary"].sh("ip addr del " + primary() + (GetParam() ? "/64" : "/24") + " dev eth0");
  claim_log log;
  const auto claim = claim_on(net["failover"], primary() + one(), log);
  ASSERT_TRUE(claim->add().ok());
  claim->announce();
  EXPECT_FALSE(log.wait_for(log.conflicts, 1, 700ms)) << "our own announcements are no conflict";

  claim_log other_log;
  const auto other = claim_on(net["primary"], primary() + one(), other_log);
  auto start = clock::now();
  other->probe(no_wait);  // a polite one asks first
  ASSERT_TRUE(log.wait_for(log.conflicts, 1));
  std::printf("%s: probe of another seen after %.2f ms\n", primary().c_str(), ms_since(start));
  EXPECT_EQ(log.conflicts[0].kind, conflict_kind::asks);
  EXPECT_EQ(to_string(log.conflicts[0].mac), net["primary"].mac());
  ASSERT_TRUE(other_log.wait_for(other_log.probes, 1));
  EXPECT_EQ(other_log.probes[0].verdict, probe_verdict::in_use);

  start = clock::now();
  ASSERT_TRUE(other->add().ok());  // and a rude one just takes it
  other->announce();
  ASSERT_TRUE(wait_until(
      [&] {
        const std::lock_guard lock(log.mutex);
        return !log.conflicts.empty() && log.conflicts.back().kind == conflict_kind::claims;
      },
      10s, 1ms));
  std::printf("%s: claim of another seen after %.2f ms\n", primary().c_str(), ms_since(start));
  EXPECT_LT(log.conflicts.back().at - start, 1s);
}

TEST_P(both_families, an_address_taken_away_is_put_back) {
  lab net(three());
  claim_log log;
  const auto claim = claim_on(net["failover"], service() + one(), log);
  ASSERT_TRUE(claim->add().ok());
  claim->announce();
  net["failover"].sh("ip addr del " + service() + one() + " dev eth0");
  ASSERT_TRUE(log.wait_for(log.troubles, 1));
  EXPECT_THAT(log.troubles[0], HasSubstr("put back"));
  EXPECT_THAT(net["failover"].sh("ip addr").output, HasSubstr(service() + one()));
  ASSERT_TRUE(claim->release().ok());
  EXPECT_FALSE(
      wait_until([&] { return net["failover"].sh("ip addr").output.find(service()) != std::string::npos; },
                 100ms, 20ms));
}

}  // namespace
}  // namespace understudy::network
