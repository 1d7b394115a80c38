// The prober on a real network: replies, silence, refusals, and its own absence.

#include "agent-failover/network/prober.hpp"

#include <gmock/gmock.h>
#include <signal.h>
#include <sys/resource.h>

#include <algorithm>
#include <cerrno>
#include <mutex>
#include <sstream>

#include "agent-failover/network/adapters.hpp"
#include "agent-failover/network/icmp_socket.hpp"
#include "common/status/status_text.hpp"
#include "tests/support/lab/lab.hpp"
#include "tests/support/wait.hpp"

namespace understudy::network {
namespace {

using namespace std::chrono_literals;
using test::host;
using test::lab;
using test::wait_until;

class collector {
 public:
  void operator()(const probe_sample& sample) {
    const std::lock_guard lock(mutex_);
    samples_.push_back(sample);
  }
  std::vector<probe_sample> of(const std::string& target) {
    const std::lock_guard lock(mutex_);
    std::vector<probe_sample> found;
    std::copy_if(samples_.begin(), samples_.end(), std::back_inserter(found),
                 [&](const probe_sample& sample) { return sample.target == target; });
    return found;
  }
  std::size_t count(const std::string& target, probe_outcome outcome) {
    const auto all = of(target);
    return static_cast<std::size_t>(std::count_if(
        all.begin(), all.end(), [&](const probe_sample& one) { return one.outcome == outcome; }));
  }

 private:
  std::mutex mutex_;
  std::vector<probe_sample> samples_;
};

test::lab_options pair() {
  return {.hosts = {{.name = "failover", .addresses = {"10.77.0.9/24", "fd77::9/64"}},
                    {.name = "primary", .addresses = {"10.77.0.1/24", "fd77::1/64"}}}};
}

std::unique_ptr<prober> open_on(host& where, collector& samples, prober_options options = {}) {
  std::unique_ptr<prober> opened;
  where.call([&] {
    auto made = prober::open(options, [&samples](const probe_sample& sample) { samples(sample); });
    if (!made.ok()) throw std::runtime_error(std::string(message_of(made.status())));
    opened = std::move(*made);
  });
  return opened;
}

ip_address ip(const char* text) {
  return parse_ip_address(text).value();
}

class prober_kind : public testing::TestWithParam<bool> {};
INSTANTIATE_TEST_SUITE_P(, prober_kind, testing::Bool(),
                         [](const auto& kind) { return kind.param ? "raw" : "unprivileged"; });

TEST_P(prober_kind, replies_then_a_pulled_cable_then_replies) {
  lab net(pair());
  collector samples;
  const auto pinger = open_on(net["failover"], samples, {.allow_raw = GetParam()});
  EXPECT_EQ(pinger->statistics().raw, GetParam());
  const probe_timing timing{100ms, 50ms};
  ASSERT_TRUE(pinger->add("v4", ip("10.77.0.1"), timing).ok());
  ASSERT_TRUE(pinger->add("v6", ip("fd77::1"), timing).ok());
  EXPECT_FALSE(pinger->add("v4", ip("10.77.0.1"), timing).ok());
  EXPECT_FALSE(pinger->add("x", ip("10.77.0.1"), {100ms, 101ms}).ok());
  for (const std::string target : {"v4", "v6"})
    ASSERT_TRUE(wait_until([&] { return samples.count(target, probe_outcome::reply) >= 5; }, 10s)) << target;

  net["primary"].cut();
  for (const std::string target : {"v4", "v6"})
    ASSERT_TRUE(wait_until([&] { return samples.count(target, probe_outcome::timeout) >= 5; }, 10s))
        << target;
  net["primary"].restore();
  for (const std::string target : {"v4", "v6"}) {
    const auto before = samples.count(target, probe_outcome::reply);
    ASSERT_TRUE(wait_until([&] { return samples.count(target, probe_outcome::reply) >= before + 3; }, 10s))
        << target;
  }

  for (const std::string target : {"v4", "v6"}) {
    const auto all = samples.of(target);
    std::uint64_t expected = 0;
    for (const probe_sample& one : all) {
      EXPECT_EQ(one.sequence, expected) << target << ": every slot has one sample, in order";
      expected += std::max<std::uint64_t>(one.skipped, 1);  // a busy machine may be late; it must say so
      EXPECT_NE(one.outcome, probe_outcome::send_failed);
      // Slots lie on the grid of the first one, whatever happened in between.
      const auto off = one.sent_at - all[0].sent_at - static_cast<int>(one.sequence) * 100ms;
      EXPECT_LT(std::max(off, -off), 100ms) << target << " slot " << one.sequence;
    }
  }
}

TEST(prober, a_refused_send_is_no_timeout) {
  lab net(pair());
  collector samples;
  const auto pinger = open_on(net["failover"], samples);
  ASSERT_TRUE(pinger->add("no route", ip("192.0.2.1"), {50ms, 40ms}).ok());
  ASSERT_TRUE(pinger->add("primary", ip("10.77.0.1"), {50ms, 40ms}).ok());
  ASSERT_TRUE(wait_until([&] { return samples.count("no route", probe_outcome::send_failed) >= 2; }, 10s));
  EXPECT_EQ(samples.of("no route")[0].error, ENETUNREACH);
  ASSERT_TRUE(wait_until([&] { return samples.count("primary", probe_outcome::reply) >= 2; }, 10s));
  net["failover"].sh("ip link set eth0 down");
  ASSERT_TRUE(wait_until([&] { return samples.count("primary", probe_outcome::send_failed) >= 2; }, 10s));
  EXPECT_EQ(samples.count("no route", probe_outcome::timeout), 0U);
}

// All nodes answer a ping to their group, each from its own address: valid replies in all but their source.
TEST(prober, a_reply_from_another_address_is_ignored) {
  lab net(pair());
  collector samples;
  const auto pinger = open_on(net["failover"], samples);
  ip_address group = ip("ff02::1");
  net["failover"].call([&] { group.scope = static_cast<std::uint32_t>(find_adapter("eth0").value().index); });
  ASSERT_TRUE(pinger->add("group", group, {50ms, 40ms}).ok());
  ASSERT_TRUE(wait_until([&] { return samples.of("group").size() >= 4; }, 10s));
  EXPECT_GE(pinger->statistics().ignored, 3U);
  EXPECT_EQ(samples.count("group", probe_outcome::reply), 0U);
  EXPECT_EQ(samples.count("group", probe_outcome::send_failed), 0U);
}

TEST(prober, pause_update_and_remove) {
  lab net(pair());
  collector samples;
  const auto pinger = open_on(net["failover"], samples);
  ASSERT_TRUE(pinger->add("p", ip("10.77.0.77"), {40ms, 30ms}).ok());
  ASSERT_TRUE(wait_until([&] { return samples.count("p", probe_outcome::timeout) >= 2; }, 10s));
  ASSERT_TRUE(pinger->update("p", ip("10.77.0.1"), {40ms, 30ms}).ok());
  ASSERT_TRUE(wait_until([&] { return samples.count("p", probe_outcome::reply) >= 2; }, 10s));
  pinger->pause("p");
  const auto paused = samples.of("p").size();
  EXPECT_FALSE(wait_until([&] { return samples.of("p").size() > paused + 1; }, 800ms));
  pinger->resume("p");
  ASSERT_TRUE(wait_until([&] { return samples.of("p").size() > paused + 3; }, 10s));
  const auto all = samples.of("p");
  EXPECT_TRUE(std::is_sorted(all.begin(), all.end(),
                             [](const auto& a, const auto& b) { return a.sequence < b.sequence; }));
  for (const probe_sample& one : all)
    EXPECT_LT(one.skipped, 20U) << "slots of the pause are not the host's lateness";
  pinger->remove("p");
  const auto removed = samples.of("p").size();
  EXPECT_FALSE(wait_until([&] { return samples.of("p").size() > removed + 1; }, 200ms));
  EXPECT_FALSE(pinger->update("p", ip("10.77.0.1"), {}).ok());
}

// A reply that reached the kernel in time counts, however much later it is read.
TEST(icmp_socket, arrival_is_the_kernels_time) {
  lab net(pair());
  for (const bool raw : {true, false})
    for (const char* address : {"10.77.0.1", "fd77::1"})
      net["failover"].call([&] {
        const ip_address target = ip(address);
        auto socket = icmp_socket::open(target.family, raw, 4711).value();
        received_reply reply;
        EXPECT_EQ(socket.receive(reply), icmp_socket::reading::empty);
        // The kernel starts stamping a moment after the first socket has asked for it.
        const auto stamped = [&] {
          const auto sent = monotonic_clock::now();
          EXPECT_EQ(socket.send(target, {1, 2, 3}), 0);
          EXPECT_FALSE(wait_until([] { return false; }, 200ms));
          EXPECT_EQ(socket.receive(reply), icmp_socket::reading::reply) << address << raw;
          EXPECT_GE(reply.arrival, sent);
          return reply.arrival - sent < 100ms;
        };
        EXPECT_TRUE(wait_until(stamped, 2s));
        EXPECT_EQ(reply.token, (echo_token{1, 2, 3}));
        EXPECT_EQ(to_string(reply.source), address);
      });
}

// SIGSTOP to the process that pings: what it slept through is its own lateness and no failure of the target,
// and a reply that arrived while it slept counts.
TEST(prober, a_frozen_process_blames_nobody) {
  lab net(pair());
  host& failover = net["failover"];
  test::process ping = failover.spawn({LAB_PING, "10.77.0.1", "100", "50"});
  test::process unanswered =
      failover.spawn({LAB_PING, "10.77.0.99", "100", "100"});  // always has one under way
  const auto has = [](test::process& one, const std::string& outcome, std::size_t wanted) {
    return wait_until(
        [&] {
          const std::string log = one.log();
          std::size_t count = 0;
          for (auto at = log.find(outcome); at != std::string::npos; at = log.find(outcome, at + 1)) ++count;
          return count >= wanted;
        },
        20s);
  };
  ASSERT_TRUE(has(ping, " reply", 3)) << ping.log();
  ASSERT_TRUE(has(unanswered, " timeout", 3)) << unanswered.log();
  failover.freeze();
  EXPECT_FALSE(wait_until([] { return false; }, 2s));
  failover.thaw();
  EXPECT_TRUE(unanswered.wait_for_log("was late skipped=0")) << unanswered.log();
  ASSERT_TRUE(has(ping, " reply", 10)) << ping.log();
  EXPECT_EQ(ping.stop(), 0) << ping.log();

  std::istringstream lines(ping.log());
  std::string line;
  std::size_t skipped = 0;
  while (std::getline(lines, line)) {
    EXPECT_EQ(line.find("timeout"), std::string::npos) << line << " in\n" << ping.log();
    if (const auto at = line.find("was late skipped="); at != std::string::npos)
      skipped += std::stoul(line.substr(at + 17));
  }
  EXPECT_GE(skipped, 15U) << ping.log();
}

TEST(prober, cost_of_256_targets) {
  test::lab_options options = pair();
  for (int i = 0; i < 128; ++i) {
    options.hosts[1].addresses.push_back("10.77.1." + std::to_string(i) + "/16");
    options.hosts[1].addresses.push_back("fd77::1:" + std::to_string(i) + "/64");
  }
  options.hosts[0].addresses = {"10.77.0.9/16", "fd77::9/64"};
  lab net(options);
  collector samples;
  const auto pinger = open_on(net["failover"], samples, {.stagger = 800us});
  for (std::size_t i = 0; i < 256; ++i)
    ASSERT_TRUE(pinger
                    ->add(std::to_string(i),
                          parse_ip_network(options.hosts[1].addresses[i + 2]).value().address, {200ms, 100ms})
                    .ok());
  ASSERT_TRUE(wait_until([&] { return samples.of("255").size() >= 3; }, 10s));
  (void)pinger->statistics();
  const auto cpu = [] {
    rusage use{};
    ::getrusage(RUSAGE_SELF, &use);
    return (use.ru_utime.tv_sec + use.ru_stime.tv_sec) * 1e6 +
           static_cast<double>(use.ru_utime.tv_usec + use.ru_stime.tv_usec);
  };
  const auto begin = monotonic_clock::now();
  const auto used_before = cpu();
  const auto sent_before = pinger->statistics().sent;
  (void)wait_until([] { return false; }, begin + 3s, 500ms);
  const double seconds = std::chrono::duration<double>(monotonic_clock::now() - begin).count();
  const double used = (cpu() - used_before) / 1e6;
  const auto statistics = pinger->statistics();
  const double rate = static_cast<double>(statistics.sent - sent_before) / seconds;
  // At the default interval 256 targets are 128 probes a second. The answering side's share is in it too.
  std::printf(
      "256 targets at 200 ms: %.0f probes/s cost %.1f %% of a core, worst lag %.2f ms; per 128 probes/s %.2f "
      "%%\n",
      rate, 100 * used / seconds, static_cast<double>(statistics.worst_lag.count()) / 1e6,
      100 * used / seconds * 128 / rate);
  RecordProperty("cpu_percent_at_default_interval", std::to_string(100 * used / seconds * 128 / rate));
  EXPECT_GT(statistics.replies, 0U);
}

}  // namespace
}  // namespace understudy::network
