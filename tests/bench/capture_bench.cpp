// Capture alone: commit-return -> transaction in the subscriber's hands, the application's throughput with
// and without a capture, and the capture's CPU time. Prints figures; nothing here passes or fails.
//   capture_bench [seconds per run]

#include <sys/resource.h>

#include <algorithm>
#include <cstdio>

#include "tests/unit/capture_testing.hpp"

namespace understudy::capture_testing {
namespace {

struct workload {
  const char* name;
  const char* synchronous;
  int pause_us;  // 0: as fast as it can
};

std::int64_t now_ns() {
  return steady_clock::now().time_since_epoch().count();
}

double cpu_seconds() {
  struct ::rusage usage;
  ::getrusage(RUSAGE_SELF, &usage);
  auto s = [](const struct ::timeval& t) {
    return static_cast<double>(t.tv_sec) + 1e-6 * static_cast<double>(t.tv_usec);
  };
  return s(usage.ru_utime) + s(usage.ru_stime);
}

double percentile(std::vector<double>& v, double p) {
  if (v.empty()) return 0;
  const auto at = static_cast<std::size_t>(p * static_cast<double>(v.size() - 1));
  std::nth_element(v.begin(), v.begin() + static_cast<std::ptrdiff_t>(at), v.end());
  return v[at];
}

double run(const workload& work, bool with_capture, double seconds) {
  temporary_directory directory;
  const std::string path = directory.file("app.db");
  make_database(path, "", 1000);
  constexpr std::uint64_t ring = 20000;
  application app([&](shared_figures& figures) {
    connection c(path);
    c.must(std::string("PRAGMA synchronous=") + work.synchronous + "; PRAGMA busy_timeout=0");
    c.must("INSERT INTO t(a) VALUES('first')");
    sqlite3_stmt* insert = nullptr;
    ::sqlite3_prepare_v2(c.handle(), "INSERT INTO t(a, b) VALUES(?, randomblob(200))", -1, &insert, nullptr);
    figures.pause(1);
    const auto end = now_ns() + static_cast<std::int64_t>(seconds * 1e9);
    auto due = now_ns();
    while (now_ns() < end) {
      if (work.pause_us != 0) {
        due += work.pause_us * 1000;
        if (const auto left = due - now_ns(); left > 0) ::usleep(static_cast<useconds_t>(left / 1000));
      }
      ::sqlite3_bind_int64(insert, 1, static_cast<sqlite3_int64>(figures.commits.load()));
      const int rc = ::sqlite3_step(insert);
      ::sqlite3_reset(insert);
      if (rc != SQLITE_DONE) {
        ++figures.commit_busy;
        continue;
      }
      figures.times[figures.commits % ring] = now_ns();
      ++figures.commits;
    }
    ::sqlite3_finalize(insert);
  });
  std::unique_ptr<capture::capture_engine> engine;
  std::unique_ptr<mirror> copy;
  if (!app.reached(1)) return 0;
  std::vector<double> latency;
  if (with_capture) {
    engine = start_engine();
    copy = std::make_unique<mirror>(engine->add(path));
    if (!copy->attach()) return 0;
    std::uint64_t seen = 0;
    copy->on_transaction = [&, seen](const auto&) mutable {
      // Received before the commit returned counts as zero.
      const auto received = now_ns();
      const auto index = seen++;
      const auto committed =
          app.figures().commits.load() > index ? app.figures().times[index % ring].load() : received;
      latency.push_back(std::max(0.0, static_cast<double>(received - committed) * 1e-6));
    };
  }
  const double cpu = cpu_seconds();
  const auto started = now_ns();
  app.proceed(1);
  if (with_capture) {
    copy->follow([&] { return app.finished(); }, 300s);
  } else {
    app.wait();
  }
  const double wall = static_cast<double>(now_ns() - started) * 1e-9;
  const double rate = static_cast<double>(app.figures().commits.load()) / seconds;
  std::printf("%-22s %-8s %8.0f tx/s  busy %lu", work.name, with_capture ? "capture" : "alone", rate,
              app.figures().commit_busy.load());
  if (with_capture) {
    const auto m = engine->metrics(path);
    std::printf(
        "  gaps %u  p50 %.3f p99 %.3f max %.3f ms  cpu %.1f %%  resets %lu pins %lu rescued %lu polls %lu",
        copy->gaps(), percentile(latency, 0.5), percentile(latency, 0.99), percentile(latency, 1),
        100 * (cpu_seconds() - cpu) / wall, m.resets, m.pins, m.rescued_tails, m.polls);
  }
  std::printf("\n");
  std::fflush(stdout);
  return rate;
}

}  // namespace
}  // namespace understudy::capture_testing

int main(int argc, char** argv) {
  using namespace understudy::capture_testing;
  {
    const auto engine = start_engine();
    const bool real_time = eventually([&] { return engine->real_time(); }, 100ms);
    std::printf("capture thread: %s\n", real_time ? "SCHED_FIFO" : "SCHED_OTHER");
  }
  const double seconds = argc > 1 ? std::atof(argv[1]) : 3;
  const workload works[] = {
      {"100 tx/s FULL", "FULL", 10000}, {"saturated FULL", "FULL", 0}, {"saturated NORMAL", "NORMAL", 0}};
  for (const auto& work : works) {
    double with = 0;
    double without = 0;
    for (int repetition = 0; repetition < 3; ++repetition) {
      without += run(work, false, seconds);
      with += run(work, true, seconds);
    }
    std::printf("%-22s ratio with/without %.3f\n", work.name, with / without);
  }
}
