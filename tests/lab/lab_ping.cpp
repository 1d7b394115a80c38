// lab_ping ADDRESS INTERVAL_MS TIMEOUT_MS: prints one line per sample until it is ended. For tests that need
// the prober in a process of its own.

#include <fmt/format.h>
#include <signal.h>

#include <cstdio>
#include <cstdlib>

#include "agent-failover/network/prober.hpp"
#include "common/status/status_text.hpp"

int main(int argc, char** argv) {
  using namespace understudy;
  using namespace understudy::network;
  if (argc != 4) return 2;
  sigset_t ending;
  sigemptyset(&ending);
  sigaddset(&ending, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &ending, nullptr);
  const auto print = [](const probe_sample& sample) {
    fmt::print("{} {} skipped={} rtt_us={}\n", sample.sequence, to_string(sample.outcome), sample.skipped,
               sample.rtt.count() / 1000);
    std::fflush(stdout);
  };
  const auto address = parse_ip_address(argv[1]);
  auto pinger = prober::open({}, print);
  if (!address.ok() || !pinger.ok()) {
    fmt::print(stderr, "{}{}\n", message_of(address.status()), message_of(pinger.status()));
    return 1;
  }
  const probe_timing timing{milliseconds{std::atoi(argv[2])}, milliseconds{std::atoi(argv[3])}};
  if (const auto added = (*pinger)->add("target", *address, timing); !added.ok()) {
    fmt::print(stderr, "{}\n", message_of(added));
    return 1;
  }
  int number = 0;
  sigwait(&ending, &number);
  return 0;
}
