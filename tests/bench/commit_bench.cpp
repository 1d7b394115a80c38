// From an application's commit to its durability on the failover host, and what the application pays for it:
// a real agent, gRPC on loopback, the copy on the disk of $TMPDIR.
//   commit_bench [seconds per measurement [only this rate, 0: saturated]]

#include <filesystem>

#include "tests/bench/application.hpp"
#include "tests/bench/copy_on_disk.hpp"
#include "tests/bench/database_link.hpp"
#include "tests/bench/disk_floor.hpp"
#include "tests/bench/instant_sink.hpp"
#include "tests/support/temporary_directory.hpp"

namespace understudy::bench {
namespace {

constexpr int rows = 1000;  // pages of the application's database, about

std::string in_ms(const samples& of) {
  return fmt::format("p50 {:.2f}, p99 {:.2f}, max {:.2f} ms", of.median(), of.percentile(0.99),
                     of.percentile(1));
}

std::string made(std::string path) {
  make_database(path, rows);
  return path;
}

class commit_bench {
 public:
  explicit commit_bench(double seconds) : seconds_(seconds) {}

  void latency(int per_second) {
    samples floor, growing;
    const auto measure_disk = [&] {
      measure_appends(directory_.path(), 100, false, floor);
      measure_appends(directory_.path(), 50, true, growing);
    };
    measure_disk();
    const agent_process agent(directory_.path(), protects_database(path_));
    const auto sink = copy_on_disk();
    const database_link link(agent, sink);
    sink->forget();
    const work_done done = application_.run({.per_second = per_second, .seconds = seconds_});
    const bool whole = link.wait_durable(done.committed_at.size());
    const int writable = agent.writable_descriptors(path_);
    measure_disk();
    const auto durable = sink->durable_at();
    const std::string what = per_second == 0 ? "saturated" : fmt::format("{} tx/s", per_second);
    if (!whole || sink->durable_heals() != 0) {
      print({.what = fmt::format("commit -> durable on the host, {} FULL", what),
             .ours = fmt::format("not measured: {} heals", sink->durable_heals())});
      return;
    }
    samples taken;
    for (std::size_t i = 0; i < done.committed_at.size(); ++i)
      taken.add(std::max(0.0, milliseconds_between(done.committed_at[i], durable[i])));
    if (per_second != 100) {
      const bool saturated = per_second == 0;
      print({.what = fmt::format("commit -> durable on the host, {}FULL ({:.0f} tx/s)",
                                 saturated ? "saturated " : "", done.per_second),
             .ours = in_ms(taken),
             .baseline = "fdatasync of 12 KiB: " + in_ms(floor),
             .goal = saturated ? "" : "p99 <= 50 ms",
             .met = saturated ? std::nullopt : std::optional(taken.percentile(0.99) <= 50)});
      return;
    }
    const double allowed = floor.median() + 2.5;
    print({.what = fmt::format("commit -> durable on the host, {} FULL", what),
           .ours = in_ms(taken),
           .baseline =
               fmt::format("fdatasync of 12 KiB: {}; of a growing file: {}", in_ms(floor), in_ms(growing)),
           .ratio = fmt::format("{:.2f}", taken.median() / floor.median()),
           .goal = fmt::format("p50 <= {:.2f} ms (fdatasync + 2.5), p99 <= 25 ms", allowed),
           .met = taken.median() <= allowed && taken.percentile(0.99) <= 25});
    print({.what = "descriptors of the agent that could write to the application's database",
           .ours = std::to_string(writable),
           .goal = "0 bytes written",
           .met = writable == 0});
  }

  // What the application finds on its own disk, and when it wants to empty its log.
  void log() {
    const auto size = [&] {
      application_.truncate_log();
      return static_cast<double>(application_.run({.seconds = seconds_ / 2}).log_bytes) / 1e6;
    };
    const auto checkpoints = [&] {
      return application_.run({.seconds = seconds_ / 2, .truncate_every = 500});
    };
    const double alone = size();
    const work_done alone_emptied = checkpoints();
    double with = 0, away = 0;
    work_done emptied;
    {
      const agent_process agent(directory_.path(), protects_database(path_));
      {
        const database_link link(agent, std::make_shared<timed_sink>(std::make_shared<instant_sink>()));
        with = size();
        emptied = checkpoints();
      }
      away = size();
    }
    print({.what = "the application's -wal, saturated",
           .ours = fmt::format("{:.1f} MB, with the host away {:.1f} MB", with, away),
           .baseline = fmt::format("{:.1f} MB without", alone),
           .goal = "<= 4 MB more",
           .met = std::max(with, away) <= alone + 4});
    print({.what = "its wal_checkpoint(TRUNCATE) after each 500 transactions that ended in SQLITE_BUSY, "
                   "busy_timeout 0",
           .ours = fmt::format("{} of {}", emptied.busy_checkpoints, emptied.checkpoints),
           .baseline =
               fmt::format("{} of {} without", alone_emptied.busy_checkpoints, alone_emptied.checkpoints)});
  }

  void throughput(int per_second, int rounds, bool whole_pair, double goal) {
    samples with, without, both;
    std::uint64_t busy_with = 0, busy_without = 0;
    const workload work{.per_second = per_second, .seconds = seconds_ / 2};
    const auto run_with = [&](const std::shared_ptr<timed_sink>& sink) {
      const agent_process agent(directory_.path(), protects_database(path_));
      const database_link link(agent, sink);
      const work_done done = application_.run(work);
      busy_with += done.busy;
      return done.per_second;
    };
    for (int round = 0; round < rounds; ++round) {
      const work_done alone = application_.run(work);
      busy_without += alone.busy;
      without.add(alone.per_second);
      with.add(run_with(std::make_shared<timed_sink>(std::make_shared<instant_sink>())));
      if (whole_pair) both.add(run_with(copy_on_disk()));
    }
    const std::string what = per_second == 0 ? "saturated" : fmt::format("{} tx/s", per_second);
    const double ratio = with.median() / without.median();
    print({.what = fmt::format("application with agent, {} FULL, median of {}", what, rounds),
           .ours = fmt::format("{:.1f} tx/s", with.median()),
           .baseline = fmt::format("{:.1f} tx/s without", without.median()),
           .ratio = fmt::format("{:.3f}", ratio),
           .goal = fmt::format(">= {:.2f}", goal),
           .met = ratio >= goal});
    if (whole_pair) {
      print({.what = "the same, the failover host on the same two cores and disk",
             .ours = fmt::format("{:.1f} tx/s", both.median()),
             .baseline = fmt::format("{:.1f} tx/s without", without.median()),
             .ratio = fmt::format("{:.3f}", both.median() / without.median())});
    }
    print({.what = fmt::format("transactions that ended in SQLITE_BUSY, {}, busy_timeout 0", what),
           .ours = std::to_string(busy_with),
           .baseline = fmt::format("{} without", busy_without),
           .goal = "0 more",
           .met = busy_with <= busy_without});
  }

 private:
  std::shared_ptr<timed_sink> copy_on_disk() {
    const std::string place = directory_.path() + "/host";
    std::filesystem::remove_all(place);
    return open_copy(place);
  }

  test::temporary_directory directory_;
  std::string path_ = made(directory_.path() + "/app.db");
  application application_{path_};
  double seconds_;
};

}  // namespace
}  // namespace understudy::bench

int main(int argc, char** argv) {
  const double seconds = argc > 1 ? std::atof(argv[1]) : 4;
  const int only = argc > 2 ? std::atoi(argv[2]) : -1;
  const auto wanted = [only](int per_second) { return only < 0 || only == per_second; };
  understudy::bench::commit_bench bench(seconds);
  for (const int per_second : {100, 5000, 0}) {
    if (wanted(per_second)) bench.latency(per_second);
  }
  if (wanted(0)) bench.log();
  if (wanted(100)) bench.throughput(100, 3, false, 0.98);
  if (wanted(2000)) bench.throughput(2000, 3, false, 0.95);
  if (wanted(5000)) bench.throughput(5000, 3, true, 0.95);
  if (wanted(0)) bench.throughput(0, 5, true, 0.95);
}
