// Bringing a copy equal to its source: the first copy, a heal of 1 % of the pages, and of none.
//   heal_bench [MiB]

#include <sys/wait.h>

#include <filesystem>

#include "tests/bench/application.hpp"
#include "tests/bench/copy_on_disk.hpp"
#include "tests/bench/database_link.hpp"
#include "tests/support/temporary_directory.hpp"

namespace understudy::bench {
namespace {

constexpr int rounds = 3;
constexpr double mib = 1 << 20;

void run(int size_mib) {
  const test::temporary_directory directory;
  const std::string path = directory.path() + "/app.db";
  const std::string place = directory.path() + "/host";
  const int rows = size_mib * 256;
  make_database(path, rows);
  const double size = static_cast<double>(std::filesystem::file_size(path)) / mib;
  const auto started = clock::now();
  const agent_process agent(directory.path(), protects_database(path));
  agent.wait_for_log("captured:");
  print({.what = fmt::format("agent started -> {:.0f} MiB read and captured", size),
         .ours = fmt::format("{:.1f} s (its log looks once a second)", milliseconds_since(started) / 1000)});

  std::shared_ptr<timed_sink> sink;
  samples ours, plain;
  for (int round = 0; round < rounds; ++round) {
    const std::string other = directory.path() + "/plain";
    const std::string command = fmt::format("cp {0} {1} && sync {1}", path, other);
    auto began = clock::now();
    if (std::system(command.c_str()) != 0) give_up(command);
    plain.add(size / milliseconds_since(began) * 1000);
    std::filesystem::remove(other);

    sink.reset();
    std::filesystem::remove_all(place);
    sink = open_copy(place);
    began = clock::now();
    const database_link link(agent, sink);
    ours.add(size / milliseconds_since(began) * 1000);
  }
  const double ratio = ours.median() / plain.median();
  print({.what = fmt::format("cold copy of {:.0f} MiB, median of {}", size, rounds),
         .ours = fmt::format("{:.0f} MiB/s ({:.0f} to {:.0f})", ours.median(), ours.percentile(0),
                             ours.percentile(1)),
         .baseline = fmt::format("cp + fsync {:.0f} MiB/s ({:.0f} to {:.0f})", plain.median(),
                                 plain.percentile(0), plain.percentile(1)),
         .ratio = fmt::format("{:.2f}", ratio),
         .goal = ">= 0.7",
         .met = ratio >= 0.7});

  run_sql(path, "UPDATE big SET b = randomblob(3900) WHERE id % 100 = 7");
  const double changed = rows / 100 * 4096.0;
  sink->forget();
  auto began = clock::now();
  {
    const database_link link(agent, sink);
    const double took = milliseconds_since(began);
    const auto traffic = static_cast<double>(link.traffic());
    const double allowed = 1.05 * changed + 0.5e6;
    print({.what = fmt::format("heal of {:.0f} MiB, 1 % of the pages changed: traffic", size),
           .ours = fmt::format("{:.2f} MB in {:.2f} s", traffic / 1e6, took / 1000),
           .baseline = fmt::format("{:.2f} MB changed", changed / 1e6),
           .ratio = fmt::format("{:.3f}", traffic / changed),
           .goal = fmt::format("<= {:.2f} MB (1.05 x + 0.5)", allowed / 1e6),
           .met = traffic <= allowed});
  }
  sink->forget();
  began = clock::now();
  const database_link link(agent, sink);
  const double took = milliseconds_since(began);
  print({.what = fmt::format("heal of {:.0f} MiB, identical: traffic", size),
         .ours = fmt::format("{:.2f} KB in {:.1f} ms", static_cast<double>(link.traffic()) / 1e3, took),
         .goal = "<= 50 KB",
         .met = link.traffic() <= 50'000});
}

}  // namespace
}  // namespace understudy::bench

int main(int argc, char** argv) {
  understudy::bench::run(argc > 1 ? std::atoi(argv[1]) : 256);
}
