// 256 primaries pinged at the default interval. They are loopback addresses, so that the answering side's
// work is in the figure too.
//   prober_bench [seconds]

#include <sys/resource.h>

#include <atomic>
#include <thread>

#include "agent-failover/network/prober.hpp"
#include "common/status/status_text.hpp"
#include "tests/bench/figure.hpp"
#include "tests/bench/samples.hpp"

namespace understudy::bench {
namespace {

double cpu_seconds() {
  rusage use{};
  ::getrusage(RUSAGE_SELF, &use);
  return static_cast<double>(use.ru_utime.tv_sec + use.ru_stime.tv_sec) +
         1e-6 * static_cast<double>(use.ru_utime.tv_usec + use.ru_stime.tv_usec);
}

void run(double seconds) {
  std::atomic<std::uint64_t> replies{0}, missed{0}, late{0};
  auto pinger = network::prober::open({}, [&](const network::probe_sample& sample) {
    if (sample.outcome == network::probe_outcome::reply) {
      ++replies;
    } else if (sample.outcome == network::probe_outcome::host_was_late) {
      late += std::max<std::uint64_t>(sample.skipped, 1);
    } else {
      ++missed;
    }
  });
  if (!pinger.ok()) give_up(std::string(message_of(pinger.status())));
  const double cpu_before = cpu_seconds();
  const auto began = clock::now();
  for (int i = 0; i < 256; ++i) {
    const std::string address = fmt::format("127.0.1.{}", i);
    const auto added = (*pinger)->add(address, network::parse_ip_address(address).value(), {});
    if (!added.ok()) give_up(std::string(message_of(added)));
  }
  std::this_thread::sleep_for(std::chrono::duration<double>(seconds));
  const double share = 100 * (cpu_seconds() - cpu_before) / (milliseconds_since(began) / 1000);
  const auto statistics = (*pinger)->statistics();
  print({.what = fmt::format("256 primaries pinged for {:.0f} s: slots missed", seconds),
         .ours = fmt::format("{} late, {} unanswered of {} sent; worst lag {:.2f} ms",
                             late + statistics.skipped_slots, missed.load(), statistics.sent,
                             static_cast<double>(statistics.worst_lag.count()) / 1e6),
         .goal = "0",
         .met = late + missed + statistics.skipped_slots == 0});
  print({.what = fmt::format("256 primaries pinged for {:.0f} s: processor", seconds),
         .ours = fmt::format("{:.2f} % of a core", share),
         .goal = "< 5 %",
         .met = share < 5});
}

}  // namespace
}  // namespace understudy::bench

int main(int argc, char** argv) {
  understudy::bench::run(argc > 1 ? std::atof(argv[1]) : 10);
}
