// Many databases on one capture: memory, descriptors, and the processor time of an idle one.
//   many_bench [databases] [seconds]

#include <sys/resource.h>

#include <cstdio>

#include "tests/bench/figure.hpp"
#include "tests/unit/capture_testing.hpp"

namespace understudy::capture_testing {
namespace {

double resident_mib() {
  std::ifstream in("/proc/self/statm");
  double size = 0;
  double resident = 0;
  in >> size >> resident;
  return resident * static_cast<double>(::sysconf(_SC_PAGESIZE)) / (1 << 20);
}

double cpu_seconds() {
  struct ::rusage usage;
  ::getrusage(RUSAGE_SELF, &usage);
  const auto s = [](const struct ::timeval& t) {
    return static_cast<double>(t.tv_sec) + 1e-6 * static_cast<double>(t.tv_usec);
  };
  return s(usage.ru_utime) + s(usage.ru_stime);
}

std::size_t descriptors() {
  std::size_t count = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) ++count;
  return count;
}

void run(std::size_t databases, double seconds) {
  temporary_directory directory;
  const auto path = [&](std::size_t n) { return directory.file("tenant" + std::to_string(n) + ".db"); };
  make_database(path(0), "", 300);
  for (std::size_t n = 1; n < databases; ++n) std::filesystem::copy_file(path(0), path(n));
  // Each open in an application that does nothing: -wal and -shm are there.
  application app([&](shared_figures& figures) {
    struct ::rlimit files {};
    ::getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    ::setrlimit(RLIMIT_NOFILE, &files);
    std::vector<std::unique_ptr<connection>> all;
    for (std::size_t n = 0; n < databases; ++n) {
      all.push_back(std::make_unique<connection>(path(n)));
      all.back()->must("PRAGMA synchronous=OFF; INSERT INTO t(a) VALUES(1)");
    }
    figures.pause(1);
  });
  if (!eventually([&] { return app.figures().stage >= 1; }, 120s)) return;
  struct ::rlimit files {};
  ::getrlimit(RLIMIT_NOFILE, &files);
  files.rlim_cur = files.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &files);
  const double memory_before = resident_mib();
  const std::size_t descriptors_before = descriptors();
  auto engine = start_engine();
  std::vector<std::shared_ptr<channel::database_source>> sources;
  const auto started = steady_clock::now();
  for (std::size_t n = 0; n < databases; ++n) sources.push_back(engine->add(path(n)));
  const auto ready = [](const auto& source) {
    return source->state().now == channel::source_state::phase::ready;
  };
  if (!eventually([&] { return std::all_of(sources.begin(), sources.end(), ready); }, 120s)) return;
  const double took = std::chrono::duration<double>(steady_clock::now() - started).count();
  std::this_thread::sleep_for(2s);  // the checks after a scan end
  const double cpu = cpu_seconds();
  std::this_thread::sleep_for(std::chrono::duration<double>(seconds));
  const double share = 100 * (cpu_seconds() - cpu) / seconds;
  const double memory = resident_mib();
  const double per_database =
      static_cast<double>(descriptors() - descriptors_before) / static_cast<double>(databases);
  const std::string what = fmt::format("{} open databases on one capture", databases);
  bench::print({.what = what + ": resident memory",
                .ours = fmt::format("{:.1f} MiB ({:.1f} before)", memory, memory_before),
                .goal = "<= 100 MB",
                .met = memory * 1.048576 <= 100});
  bench::print({.what = what + ": descriptors each",
                .ours = fmt::format("{:.2f}", per_database),
                .goal = "<= 4",
                .met = per_database <= 4});
  bench::print({.what = what + ": processor, idle",
                .ours = fmt::format("{:.2f} % of a core (all ready after {:.2f} s)", share, took),
                .goal = "<= 0.5 %",
                .met = share <= 0.5});
  app.proceed(1);
}

}  // namespace
}  // namespace understudy::capture_testing

int main(int argc, char** argv) {
  const std::size_t databases = argc > 1 ? std::strtoul(argv[1], nullptr, 10) : 1000;
  understudy::capture_testing::run(databases, argc > 2 ? std::atof(argv[2]) : 10);
}
