// Figures of file streams over gRPC on loopback, both ends in this process. The trees lie in $TMPDIR: name a
// directory on the disk that is meant, /dev/shm shows what is left without one.

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>

#include "tests/support/files_agent.hpp"

namespace understudy::test {
namespace {

TEST_F(files_grpc, figures) {
  using clock = std::chrono::steady_clock;
  for (int i = 0; i < 10'000; ++i)
    pair.write("t" + std::to_string(i / 100) + "/" + std::to_string(i), std::string(4096, 'x'));
  auto began = clock::now();
  const auto ms = [](auto d) { return std::chrono::duration<double, std::milli>(d).count(); };
  stream = files::start_files_replication(channel, 0, sink, callbacks());
  ASSERT_TRUE(reach(files_progress::phase::streaming));
  std::printf("first copy of 10,000 files: %.0f ms\n", ms(clock::now() - began));
  std::vector<double> latencies;
  for (int i = 0; i < 500; ++i) {
    // The acknowledgements of the one before, its directory's included, must not count for this one.
    std::uint64_t before = 0;
    auto quiet_since = clock::now();
    while (clock::now() - quiet_since < std::chrono::milliseconds{30}) {
      if (const std::uint64_t durable = stream->progress().durable; durable != before) {
        before = durable;
        quiet_since = clock::now();
      }
      std::this_thread::sleep_for(std::chrono::milliseconds{1});
    }
    pair.write("t5/latency" + std::to_string(i % 50), std::string(4000, static_cast<char>('a' + i % 26)));
    const auto closed = clock::now();
    ASSERT_TRUE(wait_until([&] { return stream->progress().durable > before; },
                           clock::now() + std::chrono::seconds{30}, std::chrono::milliseconds{0}));
    latencies.push_back(ms(clock::now() - closed));
  }
  std::sort(latencies.begin(), latencies.end());
  std::printf("close to durable: p50 %.2f ms, p99 %.2f ms\n", latencies[250], latencies[495]);
  for (int i = 0; i < 10'000; ++i)
    pair.write("burst" + std::to_string(i / 100) + "/" + std::to_string(i), std::string(4096, 'y'));
  began = clock::now();
  stream->drain();
  ASSERT_TRUE(reach(files_progress::phase::drained));
  std::printf("burst of 10,000 files, after the last close: %.0f ms\n", ms(clock::now() - began));
}

}  // namespace
}  // namespace understudy::test
